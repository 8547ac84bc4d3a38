// An answer: sentences with numbered buttons. Text goes in as textContent only, so nothing in it can become markup.
export default function (component) {
  const { data, parentElement, setTriggerValue } = component;
  const root = parentElement.querySelector(".answer");
  if (root.dataset.id !== data.id || root.dataset.ui !== data.ui) {
    root.dataset.id = data.id;
    root.dataset.ui = data.ui;
    root.replaceChildren(sentences(data), sources(data));
    root.lang = data.lang;
  }
  root.querySelectorAll("button").forEach((button) => {
    const open = Number(button.dataset.n) === data.open;
    button.setAttribute("aria-expanded", String(open));
    button.onclick = () => setTriggerValue("cite", Number(button.dataset.n));
    if (open && button.className === "cite" && root.dataset.open !== String(data.open)) {
      // A page that sticks to its end would scroll the sentence away when its source opens below it.
      // It glides there, so look twice.
      [500, 1000].forEach((wait) => window.setTimeout(() => button.scrollIntoView({ block: "nearest" }), wait));
    }
  });
  root.dataset.open = String(data.open);
  root.querySelectorAll("[data-claim]").forEach((span) => {
    span.classList.toggle("marked", span.dataset.claim.split(" ").includes(String(data.open)));
  });
}

function sentences(data) {
  const paragraph = document.createElement("p");
  data.claims.forEach((claim) => {
    const span = document.createElement("span");
    span.textContent = claim.text;
    span.dataset.claim = claim.numbers.join(" ");
    span.title = claim.support;
    paragraph.append(span);
    claim.numbers.forEach((n) => paragraph.append(button("cite", n, data.names[n], String(n))));
    paragraph.append(data.lang === "zh" ? "" : " ");
  });
  return paragraph;
}

function sources(data) {
  const list = document.createElement("div");
  list.className = "sources";
  data.sources.forEach((source) => {
    const made = button("source", source.number, data.names[source.number], "");
    const numbers = document.createElement("span");
    numbers.className = "numbers";
    numbers.textContent = source.numbers;
    const title = document.createElement("span");
    title.className = "title";
    title.textContent = source.title;
    made.append(numbers, title);
    if (source.page) {
      const page = document.createElement("span");
      page.className = "page";
      page.textContent = source.page;
      made.append(page);
    }
    list.append(made);
  });
  return list;
}

function button(kind, n, name, text) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = kind;
  made.dataset.n = n;
  made.setAttribute("aria-label", name);
  made.textContent = text;
  return made;
}

// Copies an answer's text. Falls back to a selection where the page is not a secure context.
export default function (component) {
  const { data, parentElement } = component;
  const button = parentElement.querySelector("button");
  const label = button.querySelector(".label");
  button.setAttribute("aria-label", data.copy);
  button.title = data.copy;
  label.textContent = "";
  button.onclick = async () => {
    await write(data.text);
    label.textContent = data.copied;
    window.clearTimeout(button.timer);
    button.timer = window.setTimeout(() => { label.textContent = ""; }, 1600);
  };
  return () => window.clearTimeout(button.timer);
}

async function write(text) {
  if (navigator.clipboard && window.isSecureContext) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}

// Filters of a list: each control names an attribute; an item stays where every one that is set matches.
(() => {
  const list = document.querySelector("[data-list]");
  if (!list) return;
  const items = [...list.children], count = document.querySelector("[data-count]");
  const controls = [...document.querySelectorAll("[data-filter]")], search = document.querySelector("[data-search]");
  const apply = () => {
    const words = search.value.trim().toLowerCase();
    let shown = 0;
    for (const item of items) {
      const fits = controls.every((c) => !c.value || item.getAttribute("data-" + c.dataset.filter) === c.value);
      item.hidden = !(fits && (!words || item.textContent.toLowerCase().includes(words)));
      shown += item.hidden ? 0 : 1;
    }
    count.textContent = shown + " / " + items.length;
  };
  for (const control of [...controls, search]) control.addEventListener("input", apply);
  document.querySelector("[data-open]").addEventListener("click", (event) => {
    const open = event.target.getAttribute("aria-pressed") !== "true";
    event.target.setAttribute("aria-pressed", String(open));
    for (const item of items) item.open = open;
  });
  apply();
})();

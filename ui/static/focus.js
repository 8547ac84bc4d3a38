// Puts the cursor into the question box when a conversation opens; not on touch screens, where it would raise the keyboard.
export default function (component) {
  const root = component.parentElement.querySelector("span");
  if (root.dataset.at === component.data.at || !window.matchMedia("(pointer: fine)").matches) return;
  root.dataset.at = component.data.at;
  window.setTimeout(() => document.querySelector('[data-testid="stChatInputTextArea"]')?.focus({ preventScroll: true }), 50);
}

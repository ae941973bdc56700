// Runs once when the page opens. Gradio lets only files through whose type the browser knows as audio, and refuses voice
// memos (mp4, 3gp, caf, no ending at all) with a list of types. Here every file is audio until the server has read it.
const asAudio = (files) => {
  const renamed = new DataTransfer();
  for (const file of files) {
    renamed.items.add(file.type.startsWith("audio/") ? file : new File([file], file.name, { type: "audio/mp4" }));
  }
  return renamed.files;
};
const picker = "#recording input[type=file]";
document.addEventListener("change", ({ target }) => {
  if (target.matches?.(picker)) target.files = asAudio(target.files);
}, true);
document.addEventListener("drop", (event) => {
  const input = event.target.closest?.("#recording") && document.querySelector(picker);
  if (!input || !event.dataTransfer.files.length) return;
  event.preventDefault();
  event.stopPropagation();
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event("change", { bubbles: true }));
}, true);

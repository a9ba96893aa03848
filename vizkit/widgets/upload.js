/**
 * A button that sends photos to Python in pieces, each answered before the next is sent.
 *
 * The server between browser and kernel closes the connection at a message of 10 MB.
 */

const PIECE = 1 << 20;
// milliseconds until somebody should know that nothing comes back
const PATIENCE = 5000;
const SILENT = "No answer from the kernel: is it running, and free?";

const unique = () => `${Date.now()}-${Math.random()}`;

/** Send the files that were chosen together, until somebody stops them. */
async function sendAll(model, answers, files, tell) {
  const selection = unique();
  for (const file of files) {
    if (!(await sendFile(model, answers, file, { selection, tell }))) break;
  }
  tell("");
}

/** Send one file; false if its selection was stopped. */
async function sendFile(model, answers, file, { selection, tell }) {
  const number = unique();
  const { name, size } = file;
  let start = 0;
  do {
    tell(`Uploading: ${Math.floor((100 * start) / Math.max(1, size))} %`);
    const piece = await file.slice(start, start + PIECE).arrayBuffer();
    const answer = answers.next(number);
    model.send({ selection, number, name, size, start }, undefined, [piece]);
    const calm = setTimeout(() => tell(SILENT), PATIENCE);
    const { more, stopped } = await answer;
    clearTimeout(calm);
    start += piece.byteLength;
    if (!more) return !stopped;
  } while (start < size);
  return true;
}

/** What Python answers, by the number of the upload. */
class Answers {
  constructor(model) {
    this.waiting = new Map();
    this.hear = (answer) => this.waiting.get(answer.number)?.(answer);
    model.on("msg:custom", this.hear);
    this.stop = () => model.off("msg:custom", this.hear);
  }

  next(number) {
    return new Promise((done) => this.waiting.set(number, done));
  }
}

function render({ model, el }) {
  const answers = new Answers(model);
  const button = document.createElement("button");
  // as ipywidgets' own buttons look
  button.className = "jupyter-widgets jupyter-button widget-button";
  button.style.width = "auto";
  button.textContent = model.get("description");
  const status = document.createElement("span");
  status.setAttribute("role", "status");
  const input = Object.assign(document.createElement("input"), {
    type: "file",
    accept: "image/*",
    multiple: true,
    hidden: true,
  });
  input.setAttribute("aria-label", model.get("description"));
  const tell = (text) => {
    status.textContent = text ? ` ${text}` : "";
  };
  button.onclick = () => input.click();
  input.onchange = async () => {
    const files = [...input.files];
    // else the same file could not be chosen again
    input.value = "";
    try {
      await sendAll(model, answers, files, tell);
    } catch (error) {
      tell(`Not uploaded: ${error.message}`);
    }
  };
  el.append(button, input, status);
  return () => answers.stop();
}

export default { render };

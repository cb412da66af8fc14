// What the browser is to save as a file.

/** Text that the page already has, as `name`. */
export function save(text, name, type = "application/json") {
  const url = URL.createObjectURL(new Blob([text], { type }));
  saveFrom(url, name);
  // The download has its own hold on the blob once it began.
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** What is at `url`, as `name`, or as the server calls it. */
export function saveFrom(url, name = "") {
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
}

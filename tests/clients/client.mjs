// What a customer's JavaScript does, one call a process:
//   node client.mjs upload|submit|get|download URL KEY '{"fields": …, "files": …}'

import { readFile, writeFile } from "node:fs/promises";
import { basename } from "node:path";

const [verb, url, key, given] = process.argv.slice(2);
const options = JSON.parse(given);
const headers = { Authorization: `Bearer ${key}` };

async function send() {
  if (verb === "upload") {
    const form = new FormData();
    for (const [name, value] of Object.entries(options.fields)) form.append(name, value);
    for (const [name, path] of Object.entries(options.files)) {
      form.append(name, new Blob([await readFile(path)]), basename(path));
    }
    return fetch(url, { method: "POST", headers, body: form });
  }
  if (verb === "submit") {
    headers["Content-Type"] = "application/json";
    return fetch(url, { method: "POST", headers, body: JSON.stringify(options) });
  }
  return verb === "get" ? fetch(url, { headers }) : fetch(url);
}

const answer = await send();
if (!answer.ok) throw new Error(`${answer.status}: ${await answer.text()}`);
if (verb === "download") {
  await writeFile(options.to, Buffer.from(await answer.arrayBuffer()));
  console.log("{}");
} else {
  console.log(JSON.stringify(await answer.json()));
}

// What a customer's JavaScript does with the package `openai` from npm:
//   node openai.mjs FOLDER_OF_NODE_MODULES BASE_URL KEY

import { createRequire } from "node:module";

const [folder, baseURL, apiKey] = process.argv.slice(2);
const { OpenAI } = createRequire(`${folder}/`)("openai");
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });

const said = {};
const asked = { model: "flux-schnell", prompt: "a lighthouse", size: "256x256" };
said.links = (await client.images.generate({ ...asked, n: 2 })).data.map((one) => one.url);
const inline = await client.images.generate({ ...asked, response_format: "b64_json" });
said.inline = inline.data[0].b64_json;
try {
  await client.images.generate({ ...asked, n: 5 });
} catch (error) {
  said.refused = [error.status, error.type, error.param, error.message];
}
console.log(JSON.stringify(said));

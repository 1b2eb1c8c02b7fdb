// A real llama.cpp, asked by tests: node llama_cpp.mjs QUESTION ANSWER, two files of JSON (pipes would cut long ones off).
//   {model, texts, prompts, length}  →  {ids, written, answers, special, template}
import { pathToFileURL } from "node:url";
import { join } from "node:path";
import { readFileSync, writeFileSync } from "node:fs";

const library = join(process.env.DIGLOT_LLAMA_CPP, "node_modules/node-llama-cpp/dist/index.js");
const { getLlama } = await import(pathToFileURL(library));
const asked = JSON.parse(readFileSync(process.argv[2], "utf8"));
const llama = await getLlama({ gpu: false, build: "never", logLevel: "error", maxThreads: 1 });
const model = await llama.loadModel({ modelPath: asked.model, vocabOnly: asked.prompts.length === 0, useMmap: false });
const ids = asked.texts.map(text => [...model.tokenize(text, false)]);
const written = ids.map(each => model.detokenize(each, false));

// Greedy answers, cache and products in float32.
const answers = [];
if (asked.prompts.length) {
  const float32 = { experimentalKvCacheKeyType: "F32", experimentalKvCacheValueType: "F32" };
  const context = await model.createContext({ contextSize: 256, flashAttention: false, threads: 1, ...float32 });
  for (const prompt of asked.prompts) {
    const sequence = context.getSequence();
    const answer = [];
    for await (const token of sequence.evaluate(prompt, { temperature: 0 })) {
      answer.push(token);
      if (answer.length === asked.length) break;
    }
    answers.push(answer);
    sequence.dispose();
  }
}
const special = { bos: model.tokens.bos, eos: model.tokens.eos, eot: model.tokens.eot };
const template = model.fileInfo.metadata.tokenizer.chat_template ?? null;
writeFileSync(process.argv[3], JSON.stringify({ ids, written, answers, special, template }));
process.exit(0);

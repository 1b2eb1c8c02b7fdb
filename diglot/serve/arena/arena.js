"use strict";
// What is shown comes from models and other people: it is only ever set as text, never as HTML.
const RIGHT_TO_LEFT = new Set(["ar", "fa", "he", "ps", "sd", "ug", "ur", "yi"]);
const WORDS = {
  en: {
    title: "Which answer is better?", language: "Language", first: "A is better", second: "B is better", tie: "Equally good",
    both_bad: "Both bad", skip: "Skip", send: "Ask both", question: "Ask something; both will answer", more: "Ask more, or vote",
    waiting: "Both are answering …", done: "That was all. Thank you!", empty: "(no answer)", count: "votes of yours:", left: "left:",
  },
  ar: {
    title: "أيُّ الإجابتين أفضل؟", language: "اللغة", first: "الإجابة أ أفضل", second: "الإجابة ب أفضل", tie: "متساويتان",
    both_bad: "كلتاهما سيئة", skip: "تخطٍّ", send: "اسأل الاثنين", question: "اسأل سؤالًا ليجيب عنه الاثنان", more: "تابع السؤال أو صوّت",
    waiting: "جارٍ إعداد الإجابتين …", done: "انتهت الأسئلة. شكرًا لك!", empty: "(لا إجابة)", count: "أصواتك:", left: "المتبقي:",
  },
};
const NAMES = { en: ["A", "B"], ar: ["أ", "ب"] };
const at = id => document.getElementById(id);
let arena, language, token = "", battle = null, voted = 0, busy = false;
let loaded; // the language of `battle`: another one may be chosen while something is on its way

const words = () => WORDS[language] ?? WORDS.en;

async function post(path, value) {
  const headers = { "content-type": "application/json" };
  if (token) headers["x-arena-token"] = token;
  const answer = await fetch(`/api/${path}`, { method: "POST", headers, body: JSON.stringify(value) });
  const found = await answer.json();
  if (!answer.ok) throw Object.assign(new Error(found.error?.message ?? answer.statusText), { status: answer.status });
  return found;
}

function element(name, className, text) {
  const made = document.createElement(name);
  made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function show() {
  const turns = (battle?.turns ?? []).map(turn => {
    const shown = element("section", "turn");
    const question = element("div", "question");
    question.append(element("p", "words", turn.question));
    const answers = element("div", "answers");
    [turn.first, turn.second].forEach((text, side) => {
      const answer = element("article", text.trim() ? "answer" : "answer empty");
      answer.append(element("h2", "", (NAMES[language] ?? NAMES.en)[side]), element("p", "words", text.trim() ? text : words().empty));
      answers.append(answer);
    });
    shown.append(question, answers);
    return shown;
  });
  at("turns").replaceChildren(...turns);
  at("ask").hidden = !arena.live || !battle;
  at("choices").hidden = !battle && loaded === language; // after an error too, so that one can go on
  for (const button of document.querySelectorAll("button")) button.disabled = busy;
  for (const button of document.querySelectorAll("[data-choice]")) button.disabled = busy || !turns.length;
  at("question").placeholder = turns.length ? words().more : words().question;
  const left = battle?.left > 0 ? ` · ${words().left} ${battle.left}` : "";
  at("count").textContent = `${words().count} ${voted}${left}`;
}

// One thing at a time: a second press of a key while a vote is on its way does nothing.
async function work(what, message = "") {
  if (busy) return;
  busy = true;
  at("message").textContent = message;
  show();
  try {
    await what();
    while (loaded !== language) await next();
    at("message").textContent = battle ? "" : words().done;
  } catch (error) {
    at("message").textContent = error.message;
  }
  busy = false;
  show();
}

async function next() {
  const asked = language;
  if (!token) token = (await post("voter", { language: asked })).token;
  const found = await post("battle", { language: asked });
  battle = found.done ? null : found;
  loaded = asked;
  scrollTo({ top: 0 });
}

const vote = choice => {
  const { battle: named } = battle;
  work(async () => {
    await post("vote", { battle: named, choice });
    voted += 1;
    await next();
  });
};

function speak(chosen) {
  language = chosen;
  document.documentElement.lang = language;
  document.documentElement.dir = RIGHT_TO_LEFT.has(language) ? "rtl" : "ltr";
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = words()[node.dataset.text];
  document.title = words().title;
  battle = null;
  loaded = null;
  work(async () => {});
}

for (const button of document.querySelectorAll("[data-choice]")) {
  button.addEventListener("click", () => vote(button.dataset.choice));
}
at("skip").addEventListener("click", () => work(next));
at("language").addEventListener("change", event => speak(event.target.value));
at("ask").addEventListener("submit", event => {
  event.preventDefault();
  const text = at("question").value;
  const asked = battle;
  work(async () => {
    const { turns } = await post("ask", { battle: asked.battle, text });
    if (battle !== asked) return; // another language was chosen meanwhile
    battle = { ...asked, turns };
    at("question").value = "";
  }, words().waiting);
});
addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.closest?.("textarea, select")) return;
  // Arrows mean what they point at: A stands on the right of a page that is written from right to left.
  const sides = document.documentElement.dir === "rtl" ? ["second", "first"] : ["first", "second"];
  const keys = { 1: "first", 2: "second", 3: "tie", 4: "both_bad", ArrowLeft: sides[0], ArrowRight: sides[1] };
  const choice = keys[event.key];
  if (choice && battle?.turns.length) {
    event.preventDefault();
    vote(choice);
  }
});

(async () => {
  arena = await (await fetch("/api/arena")).json();
  const named = code => new Intl.DisplayNames([code], { type: "language", fallback: "code" }).of(code);
  for (const code of arena.languages) at("language").append(new Option(named(code), code));
  const wanted = navigator.languages.map(tag => tag.split("-")[0]).find(code => arena.languages.includes(code));
  at("language").value = wanted ?? arena.languages[0];
  speak(at("language").value);
})();

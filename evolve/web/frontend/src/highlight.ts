// Syntax colours: a line scanner that yields classes and text, never markup. Small on purpose: comments, strings,
// numbers, keywords, names being called. State crosses lines for block comments and triple-quoted strings.

export type Token = [kind: string, text: string];
type Language = { words: Set<string>; line: string[]; block: [string, string][]; strings: string[]; triple: boolean };

const words = (text: string) => new Set(text.split(" "));
const PYTHON: Language = {
  words: words("False None True and as assert async await break case class continue def del elif else except finally for from global if import in is lambda match nonlocal not or pass raise return self try while with yield"),
  line: ["#"], block: [], strings: ['"', "'"], triple: true,
};
const C_LIKE: Language = {
  words: words("auto bool break case catch char class const constexpr continue default delete do double else enum export extends extern false final float fn for from function if impl import in inline int interface let long loop match mod mut namespace new null nullptr override package private protected pub public return self short signed sizeof static struct super switch template this throw trait true try type typedef typename union unsigned use using var void volatile while yield async await __global__ __device__ __shared__ __restrict__ __launch_bounds__ func go defer range map chan"),
  line: ["//"], block: [["/*", "*/"]], strings: ['"', "'", "`"], triple: false,
};
const SHELL: Language = {
  words: words("if then else elif fi for while do done case esac in function return local export true false set exit"),
  line: ["#"], block: [], strings: ['"', "'"], triple: false,
};
const DATA: Language = { words: words("true false null yes no on off"), line: ["#"], block: [], strings: ['"', "'"], triple: false };
const PLAIN: Language = { words: new Set(), line: [], block: [], strings: [], triple: false };

const BY_ENDING: Record<string, Language> = {};
for (const [endings, language] of [
  ["py pyi pyx", PYTHON], ["c h cc cpp hpp cu cuh rs go js mjs ts tsx jsx java kt swift cs jl zig", C_LIKE],
  ["sh bash mk dockerfile", SHELL], ["toml yaml yml ini cfg json conf", DATA],
] as [string, Language][])
  for (const ending of endings.split(" ")) BY_ENDING[ending] = language;

export const languageOf = (path: string): Language => BY_ENDING[path.toLowerCase().split(".").pop() ?? ""] ?? PLAIN;

const NAME = /[A-Za-z_]\w*/y;
const NUMBER = /0[xX][\da-fA-F_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d+)?/y;

/** Colours lines one after another; `open` is what a previous line left open. */
export class Highlighter {
  private open = "";
  constructor(private language: Language) {}

  line(text: string): Token[] {
    const out: Token[] = [];
    const { language } = this;
    if (language === PLAIN || text.length > 2000) return [["", text]];
    let at = 0;
    const push = (kind: string, end: number) => {
      if (end > at) {
        const last = out[out.length - 1];
        if (last && last[0] === kind) last[1] += text.slice(at, end);
        else out.push([kind, text.slice(at, end)]);
        at = end;
      }
    };
    if (this.open) {
      const end = text.indexOf(this.open);
      const kind = this.open === "*/" ? "c" : "s";
      if (end < 0) return [[kind, text]];
      push(kind, end + this.open.length);
      this.open = "";
    }
    while (at < text.length) {
      const rest = text.slice(at, at + 3);
      if (language.line.some((mark) => rest.startsWith(mark))) {
        push("c", text.length);
        break;
      }
      const block = language.block.find(([begin]) => rest.startsWith(begin));
      if (block) {
        this.quoted(text, at, block[0].length, block[1], push, "c");
        continue;
      }
      if (language.triple && (rest === '"""' || rest === "'''")) {
        this.quoted(text, at, 3, rest, push, "s");
        continue;
      }
      const char = text[at];
      if (language.strings.includes(char)) {
        let end = at + 1;
        while (end < text.length && text[end] !== char) end += text[end] === "\\" ? 2 : 1;
        push("s", Math.min(end + 1, text.length));
        continue;
      }
      NAME.lastIndex = at;
      const name = NAME.exec(text);
      if (name) {
        const kind = language.words.has(name[0]) ? "k" : text[at + name[0].length] === "(" ? "f" : "";
        push(kind, at + name[0].length);
        continue;
      }
      NUMBER.lastIndex = at;
      const number = NUMBER.exec(text);
      if (number && number[0]) {
        push("n", at + number[0].length);
        continue;
      }
      push("", at + 1);
    }
    return out;
  }

  private quoted(text: string, at: number, skip: number, close: string, push: (k: string, e: number) => void, kind: string) {
    const end = text.indexOf(close, at + skip);
    if (end < 0) {
      this.open = close;
      push(kind, text.length);
    } else push(kind, end + close.length);
  }
}

/** The part of two lines that differs: [start, end in a, end in b], or null where hardly anything is shared. */
export function changedPart(a: string, b: string): [number, number, number] | null {
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  let tail = 0;
  while (tail < a.length - start && tail < b.length - start && a[a.length - 1 - tail] === b[b.length - 1 - tail]) tail++;
  const shared = start + tail;
  if (shared < 0.3 * Math.max(a.length, b.length)) return null;
  const word = /\w/;
  while (start > 0 && word.test(a[start - 1]) && word.test((a[start] ?? "") + (b[start] ?? ""))) start--;
  let [x, y] = [a.length - tail, b.length - tail];
  while (x < a.length && word.test(a[x]) && word.test(a[x - 1] ?? "") && y < b.length) { x++; y++; }
  return [start, Math.max(x, start), Math.max(y, start)];
}

/** Split tokens so that [start, end) carries a mark. */
export function marked(tokens: Token[], start: number, end: number): [string, string, boolean][] {
  const out: [string, string, boolean][] = [];
  let at = 0;
  for (const [kind, text] of tokens) {
    const cuts = [0, Math.min(Math.max(start - at, 0), text.length), Math.min(Math.max(end - at, 0), text.length), text.length];
    for (let k = 0; k < 3; k++) if (cuts[k + 1] > cuts[k]) out.push([kind, text.slice(cuts[k], cuts[k + 1]), k === 1]);
    at += text.length;
  }
  return out;
}

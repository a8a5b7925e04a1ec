// A diff as rows of text nodes: split or unified, syntax colours, the changed part of a line marked.
import type { ComponentChildren } from "preact";
import { useMemo } from "preact/hooks";
import { changedPart, Highlighter, languageOf, marked, type Token } from "./highlight";
import { Empty } from "./parts";
import type { Difference, DiffFile, DiffLine } from "./types";

type Painted = { line: DiffLine; tokens: Token[]; mark: [number, number] | null };
type Pair = [Painted | null, Painted | null];

export function Diff({ diff, split }: { diff: Difference; split: boolean }) {
  if (!diff.files.length) return <Empty>Nothing differs.</Empty>;
  return (
    <div class="diff">
      {diff.files.map((file) => <File key={file.path} file={file} split={split} />)}
      {diff.cut > 0 && <p class="dim">{diff.cut} more lines are not shown; <code>evolve diff</code> prints them all.</p>}
    </div>
  );
}

function File({ file, split }: { file: DiffFile; split: boolean }) {
  const hunks = useMemo(() => paint(file), [file]);
  return (
    <section class="file" aria-label={`Changes in ${file.path}`}>
      <header><code>{file.status === "renamed" ? `${file.old_path} → ${file.path}` : file.path}</code><span class="dim">{file.status}</span><span class="spacer" /><span class="good">+{file.added}</span> <span class="bad">−{file.removed}</span></header>
      {file.binary && <Empty>Binary.</Empty>}
      <div class="scroll" tabIndex={0} role="group" aria-label={`Lines of ${file.path}`}><table class={split ? "lines split" : "lines"}>
        <colgroup>{(split ? ["no", "code", "no", "code"] : ["no", "no", "code"]).map((kind, k) => <col key={k} class={kind} />)}</colgroup>
        {hunks.map(({ header, pairs, lines }, k) => (
          <tbody key={k}>
            <tr class="hunk"><td colSpan={split ? 4 : 3}>{header}</td></tr>
            {split ? pairs.map((pair, n) => <SplitRow key={n} pair={pair} />) : lines.map((one, n) => <Row key={n} one={one} />)}
          </tbody>
        ))}
      </table></div>
    </section>
  );
}

const KIND: Record<string, string> = { "+": "added", "-": "removed", " ": "", "\\": "note" };

function Row({ one }: { one: Painted }) {
  const [kind, before, after] = one.line;
  return <tr class={KIND[kind]}><td class="no" data-no={before ?? ""} /><td class="no" data-no={after ?? ""} /><td class="code" data-sign={kind === " " ? "" : kind}>{code(one)}</td></tr>;
}

function SplitRow({ pair: [a, b] }: { pair: Pair }) {
  const side = (one: Painted | null, number: number | null | undefined) => <><td class={`no ${one ? KIND[one.line[0]] : "void"}`} data-no={number ?? ""} /><td class={`code ${one ? KIND[one.line[0]] : "void"}`} data-sign={one && one.line[0] !== " " ? one.line[0] : ""}>{one && code(one)}</td></>;
  return <tr>{side(a, a?.line[1])}{side(b, b?.line[2])}</tr>;
}

function code({ tokens, mark }: Painted): ComponentChildren {
  if (!mark) return tokens.map(([kind, text]) => (kind ? <span class={`t-${kind}`}>{text}</span> : text));
  return marked(tokens, mark[0], mark[1]).map(([kind, text, on]) => (on || kind ? <span class={`${kind ? `t-${kind}` : ""}${on ? " mark" : ""}`}>{text}</span> : text));
}

function paint(file: DiffFile) {
  const [old, now] = [languageOf(file.old_path), languageOf(file.path)];
  return file.hunks.map((hunk) => {
    const [left, right] = [new Highlighter(old), new Highlighter(now)];
    const lines = hunk.lines.map((line): Painted => {
      const [kind, , , text] = line;
      if (kind === "\\") return { line, tokens: [["", text]], mark: null };
      const tokens = kind === "-" ? left.line(text) : right.line(text);
      if (kind === " ") left.line(text);
      return { line, tokens, mark: null };
    });
    return { header: hunk.header, lines, pairs: pairUp(lines) };
  });
}

/** Removed lines beside the added ones that follow them; paired lines get their differing part marked. */
function pairUp(lines: Painted[]): Pair[] {
  const out: Pair[] = [];
  for (let k = 0; k < lines.length; ) {
    const kind = lines[k].line[0];
    if (kind !== "-" && kind !== "+") {
      out.push([lines[k], lines[k]]);
      k++;
      continue;
    }
    const removed: Painted[] = [], added: Painted[] = [];
    while (k < lines.length && (lines[k].line[0] === "-" || lines[k].line[0] === "\\")) removed.push(lines[k++]);
    while (k < lines.length && (lines[k].line[0] === "+" || lines[k].line[0] === "\\")) added.push(lines[k++]);
    for (let n = 0; n < Math.max(removed.length, added.length); n++) {
      const [a, b] = [removed[n] ?? null, added[n] ?? null];
      const part = a && b ? changedPart(a.line[3], b.line[3]) : null;
      if (a && b && part) {
        a.mark = [part[0], part[1]];
        b.mark = [part[0], part[2]];
      }
      out.push([a, b]);
    }
  }
  return out;
}

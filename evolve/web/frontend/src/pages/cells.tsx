// MAP-Elites cells: the best program of each kind, over two descriptors.
import { useEffect, useRef, useState } from "preact/hooks";
import { Chart, savePng, saveSvg, seriesColour, Tip } from "../chart";
import { count, num, worth } from "../format";
import { ramp } from "../lineage/palette";
import { CandidateLink, Card, Empty, Loading, Problem, useJson } from "../parts";
import { batch, go, href, query, setQuery, theme } from "../state";
import type { CellsPage } from "../types";
import { useThrottled } from "./run";

export function Cells({ run }: { run: string }) {
  const version = useThrottled(batch.value?.version ?? 0, 800);
  const rest = query.value.toString();
  const { data, error, reload } = useJson<CellsPage>(`${href(run, "cells")}.json${rest ? "?" + rest : ""}`, version);
  const indexing = data !== null && !data.indexed;
  useEffect(() => {
    if (!indexing) return;
    const later = setTimeout(reload, data.scored > 20000 ? 4000 : 700);
    return () => clearTimeout(later);
  }, [data, error]);
  if (!data) return error ? <Problem text={error} /> : <Loading />;
  const choose = (axis: "x" | "y") => (
    <label class="choice">{axis === "x" ? "Across" : "Up"} <select value={data[axis]} onChange={(event) => setQuery({ [axis]: event.currentTarget.value })}>{data.descriptors.map((d) => <option key={d.name} value={d.name}>{d.what}</option>)}</select></label>
  );
  const all = Math.max(data.columns.length - 1, 0) * Math.max(data.rows.length - 1, 0);
  return (
    <div class="stack">
      {error && <Problem text={error} />}
      <Card title="MAP-Elites" note={data.cells.length ? `${data.cells.length} of ${all} cells filled by ${count(data.placed)} candidates` : ""} actions={<>
        {data.tasks.length > 1 && <label class="choice">Task <select value={data.task} onChange={(event) => setQuery({ task: event.currentTarget.value, x: "", y: "" })}>{data.tasks.map((t) => <option key={t}>{t}</option>)}</select></label>}
        {choose("x")}{choose("y")}
      </>}>
        <p class="dim">{steering(data)} {data.declared.length ? `The task declares: ${data.declared.join(", ")}.` : "The task declares no descriptors, so the axes are what every program has."}</p>
        {!data.cells.length ? <Empty>{data.indexed ? "No scored candidate has both of these descriptors." : "The log is still being read; the map appears here in a moment."}</Empty>
          : <Grid data={data} run={run} />}
      </Card>
      {data.filled.length > 1 && <Card title="Cells filled" note="over the candidates placed, in the order of their verdicts">
        <Chart title={`${run} ${data.task} cells filled`} xLabel="Candidates placed" yLabel="Cells filled" height={190} end={data.placed}
          series={[{ name: "", colour: seriesColour(0), steps: data.filled.map(([n, k]) => [n, k] as [number, number]) }]} />
      </Card>}
    </div>
  );
}

function steering(data: CellsPage): string {
  if (data.steers === null) return `Whether selector ${data.selector} chooses parents from these cells is not on record.`;
  return `This run does not use cells to search: its selector (${data.selector || "unknown"}) does not choose from them. They show which kinds of program it found.`;
}

const LEFT = 74, RIGHT = 26, TOP = 8, BELOW = 46;

function Grid({ data, run }: { data: CellsPage; run: string }) {
  const host = useRef<HTMLDivElement>(null);
  const svg = useRef<SVGSVGElement>(null);
  const [width, setWidth] = useState(720);
  const [tip, setTip] = useState<{ x: number; y: number; text: string } | null>(null);
  useEffect(() => {
    if (!host.current) return;
    const watch = new ResizeObserver(([entry]) => setWidth(Math.max(Math.round(entry.contentRect.width), 260)));
    watch.observe(host.current);
    return () => watch.disconnect();
  }, []);
  const across = data.columns.length - 1, up = data.rows.length - 1;
  const wide = Math.min((width - LEFT - RIGHT) / across, 110), high = Math.min(Math.max(wide * 0.5, 22), 40);
  const height = TOP + up * high + BELOW;
  const colours = ramp(theme.value);
  const sorted = data.cells.map((c) => c[3]).sort((a, b) => a - b);
  const rank = (fitness: number) => (sorted.length > 1 ? sorted.indexOf(fitness) / (sorted.length - 1) : 1);
  const name = `${run} ${data.task} cells`;
  const every = Math.max(1, Math.ceil(46 / wide));
  const what = (name: string) => { const d = data.descriptors.find((one) => one.name === name); return `${d?.what ?? name}${d?.unit ? ` (${d.unit})` : ""}`; };
  return (
    <figure class="chart" ref={host}>
      <svg ref={svg} width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-label={`${data.cells.length} cells over ${what(data.x)} and ${what(data.y)}; the table below has them all`} font-family="system-ui, sans-serif" font-size="11">
        <rect x={LEFT} y={TOP} width={across * wide} height={up * high} fill="var(--ground)" stroke="var(--line)" />
        {data.cells.map(([i, j, n, fitness, number]) => {
          const colour = colours[Math.round(rank(fitness) * (colours.length - 1))], x = LEFT + i * wide, y = TOP + (up - 1 - j) * high;
          const text = `#${number}  ${data.metric.name} ${worth(data.metric, fitness)}; ${n} of this kind`;
          return (
            <g key={`${i}/${j}`} class="pick" onClick={() => go(href(run, "c", number))} onMouseEnter={() => setTip({ x: x + wide / 2, y, text })} onMouseLeave={() => setTip(null)}>
              <rect x={x + 0.5} y={y + 0.5} width={Math.max(wide - 1, 1)} height={high - 1} fill={colour} />
              {wide > 44 && <text x={x + wide / 2} y={y + high / 2} dy="0.35em" text-anchor="middle" fill={ink(colour)}>{worth(data.metric, fitness, 4)}</text>}
            </g>
          );
        })}
        {data.columns.map((v, k) => k % every === 0 && <text key={k} x={LEFT + k * wide} y={TOP + up * high + 15} text-anchor="middle" fill="var(--dim)">{num(v, 4)}</text>)}
        {data.rows.map((v, k) => <text key={k} x={LEFT - 6} y={TOP + (up - k) * high} dy="0.32em" text-anchor="end" fill="var(--dim)">{num(v, 4)}</text>)}
        <text x={LEFT + (across * wide) / 2} y={height - 10} text-anchor="middle" fill="var(--dim)">{what(data.x)}</text>
        <text transform={`translate(12 ${TOP + (up * high) / 2}) rotate(-90)`} text-anchor="middle" fill="var(--dim)">{what(data.y)}</text>
        {tip && <Tip {...tip} width={width} />}
      </svg>
      <figcaption>
        <span class="key">worst elite <svg width="96" height="9" aria-hidden="true">{colours.map((c, k) => <rect key={k} x={k * 3} width="3.2" height="9" fill={c} />)}</svg> best, by rank of {data.metric.name}</span>
        <span class="spacer" />
        <button type="button" class="quiet" onClick={() => svg.current && saveSvg(svg.current, name)}>SVG</button>
        <button type="button" class="quiet" onClick={() => svg.current && void savePng(svg.current, name)}>PNG</button>
      </figcaption>
      <details class="as-table"><summary>As a table</summary>
        <div class="scroll"><table class="grid"><thead><tr><th>{what(data.x)}</th><th>{what(data.y)}</th><th>Elite</th><th class="right">{data.metric.name}</th><th class="right">Candidates</th></tr></thead>
          <tbody>{[...data.cells].sort((a, b) => b[3] - a[3]).map(([i, j, n, fitness, number]) => (
            <tr key={number}><td class="number">{num(data.columns[i], 4)} to {num(data.columns[i + 1], 4)}</td><td class="number">{num(data.rows[j], 4)} to {num(data.rows[j + 1], 4)}</td>
              <td><CandidateLink run={run} number={number} /></td><td class="right number">{worth(data.metric, fitness)}</td><td class="right number">{n}</td></tr>
          ))}</tbody></table></div>
      </details>
    </figure>
  );
}

/** Black or white, whichever stands out more (WCAG 2 contrast). */
function ink(colour: string): string {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const part = parseInt(colour.slice(at, at + 2), 16) / 255;
    return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.179 ? "#000000" : "#ffffff";
}

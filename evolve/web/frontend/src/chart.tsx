// Charts in SVG, small enough to read: steps, bands, points, axes; saved as SVG or PNG as they are on screen.
import { useEffect, useRef, useState } from "preact/hooks";
import { num } from "./format";
import { download } from "./parts";
import { theme } from "./state";

export type Series = {
  name: string; colour: string; dash?: string;
  /** x, y and, where known, the interval; drawn as steps that hold until the next. */
  steps?: [number, number, number?, number?][];
  points?: { x: number; y: number; label: string; href?: string; strong?: boolean }[];
};

type Props = {
  title: string; series: Series[]; xLabel: string; yLabel: string; xFormat?: (v: number) => string;
  end?: number; height?: number; onPick?: (href: string) => void; yRange?: [number, number]; line?: boolean;
};

const MARGIN = { left: 62, right: 14, top: 10, bottom: 36 };

export function Chart(props: Props) {
  const { series, height = 270 } = props;
  const host = useRef<HTMLDivElement>(null);
  const svg = useRef<SVGSVGElement>(null);
  const [width, setWidth] = useState(640);
  const [tip, setTip] = useState<{ x: number; y: number; text: string } | null>(null);
  useEffect(() => {
    if (!host.current) return;
    const watch = new ResizeObserver(([entry]) => setWidth(Math.max(Math.round(entry.contentRect.width), 260)));
    watch.observe(host.current);
    return () => watch.disconnect();
  }, []);
  const { x, y, xTicks, yTicks } = scales(props, width, height);
  const right = width - MARGIN.right, bottom = height - MARGIN.bottom;
  return (
    <figure class="chart" ref={host}>
      <svg ref={svg} width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="img" aria-label={props.title} font-family="system-ui, sans-serif" font-size="11">
        <clipPath id={clip(props.title)}><rect x={MARGIN.left} y={MARGIN.top - 4} width={Math.max(right - MARGIN.left + 6, 1)} height={bottom - MARGIN.top + 8} /></clipPath>
        {yTicks.map((v) => (
          <g key={v}>
            <line x1={MARGIN.left} x2={right} y1={y(v)} y2={y(v)} stroke="var(--line)" />
            <text x={MARGIN.left - 7} y={y(v)} dy="0.32em" text-anchor="end" fill="var(--dim)">{num(v, 5)}</text>
          </g>
        ))}
        {xTicks.map((v) => (
          <g key={v}>
            <line x1={x(v)} x2={x(v)} y1={bottom} y2={bottom + 4} stroke="var(--dim)" />
            <text x={x(v)} y={bottom + 16} text-anchor="middle" fill="var(--dim)">{(props.xFormat ?? ((t: number) => num(t, 4)))(v)}</text>
          </g>
        ))}
        <line x1={MARGIN.left} x2={right} y1={bottom} y2={bottom} stroke="var(--dim)" />
        <text x={(MARGIN.left + right) / 2} y={height - 3} text-anchor="middle" fill="var(--dim)">{props.xLabel}</text>
        <text transform={`translate(12 ${(MARGIN.top + bottom) / 2}) rotate(-90)`} text-anchor="middle" fill="var(--dim)">{props.yLabel}</text>
        <g clip-path={`url(#${clip(props.title)})`}>
          {series.map((one) => <Marks key={one.name} one={one} x={x} y={y} right={props.end !== undefined ? x(props.end) : right} tip={setTip} pick={props.onPick} line={props.line} />)}
        </g>
        {tip && <Tip {...tip} width={width} />}
      </svg>
      <figcaption>
        {series.filter((one) => one.name).map((one) => (
          <span class="key" key={one.name}>
            <svg width="18" height="8" aria-hidden="true">{one.points && !one.steps ? <circle cx="9" cy="4" r="3" fill={one.colour} /> : <line x1="0" x2="18" y1="4" y2="4" stroke={one.colour} stroke-width="2" stroke-dasharray={one.dash} />}</svg>
            {one.name}
          </span>
        ))}
        <span class="spacer" />
        <button type="button" class="quiet" onClick={() => svg.current && saveSvg(svg.current, props.title)}>SVG</button>
        <button type="button" class="quiet" onClick={() => svg.current && void savePng(svg.current, props.title)}>PNG</button>
      </figcaption>
    </figure>
  );
}

const clip = (title: string) => "clip-" + title.replace(/\W+/g, "-");

function Marks({ one, x, y, right, tip, pick, line }: { one: Series; x: (v: number) => number; y: (v: number) => number; right: number; tip: (t: { x: number; y: number; text: string } | null) => void; pick?: (href: string) => void; line?: boolean }) {
  const steps = one.steps ?? [];
  const d = steps.map(([a, b], k) => (k ? (line ? `L${x(a)} ${y(b)}` : `H${x(a)}V${y(b)}`) : `M${x(a)} ${y(b)}`)).join("") + (steps.length && !line ? `H${Math.max(right, x(steps[steps.length - 1][0]))}` : "");
  const bands = steps.filter((s) => s[2] !== undefined && s[3] !== undefined && s[2] !== s[3]);
  return (
    <g>
      {bands.length > 0 && steps.map(([a, , low, high], k) => {
        if (low === undefined || high === undefined) return null;
        const from = x(a), to = k + 1 < steps.length ? x(steps[k + 1][0]) : right;
        return <rect key={k} x={from} width={Math.max(to - from, 0.5)} y={Math.min(y(low), y(high))} height={Math.abs(y(high) - y(low))} fill={one.colour} opacity="0.16" />;
      })}
      {d && <path d={d} fill="none" stroke={one.colour} stroke-width="1.9" stroke-dasharray={one.dash} stroke-linejoin="round" />}
      {one.points?.map((p, k) => (
        <circle key={k} cx={x(p.x)} cy={y(p.y)} r={p.strong ? 4 : 2.1} fill={one.colour} opacity={p.strong ? 1 : 0.45}
          class={p.href ? "pick" : undefined}
          onMouseEnter={() => tip({ x: x(p.x), y: y(p.y), text: p.label })} onMouseLeave={() => tip(null)}
          onClick={() => p.href && pick?.(p.href)} />
      ))}
    </g>
  );
}

export function Tip({ x, y, text, width }: { x: number; y: number; text: string; width: number }) {
  const shown = text.length > 70 ? text.slice(0, 69) + "…" : text;
  const wide = Math.min(shown.length * 6.3 + 14, width - 20);
  const left = Math.min(Math.max(x - wide / 2, 4), width - wide - 4);
  const top = y > 44 ? y - 34 : y + 12;
  return (
    <g pointer-events="none">
      <rect x={left} y={top} width={wide} height="22" rx="4" fill="var(--ink)" />
      <text x={left + 7} y={top + 15} fill="var(--paper)">{shown}</text>
    </g>
  );
}

function scales({ series, end, yRange }: Props, width: number, height: number) {
  const xs: number[] = end !== undefined ? [end] : [], ys: number[] = [];
  for (const one of series) {
    for (const [a, b, low, high] of one.steps ?? []) { xs.push(a); ys.push(b); if (low !== undefined) ys.push(low); if (high !== undefined) ys.push(high); }
    for (const p of one.points ?? []) { xs.push(p.x); ys.push(p.y); }
  }
  const [x0, x1] = widen(Math.min(...xs, 0), Math.max(...xs, Math.min(...xs, 0)));
  let [y0, y1] = yRange ?? widen(Math.min(...ys), Math.max(...ys));
  if (!Number.isFinite(y0)) [y0, y1] = [0, 1];
  const pad = (y1 - y0) * 0.05;
  [y0, y1] = [y0 - pad, y1 + pad];
  const x = (v: number) => MARGIN.left + ((v - x0) / (x1 - x0)) * (width - MARGIN.left - MARGIN.right);
  const y = (v: number) => height - MARGIN.bottom - ((v - y0) / (y1 - y0)) * (height - MARGIN.bottom - MARGIN.top);
  return { x, y, xTicks: ticks(x0, x1, Math.max(Math.floor(width / 110), 2)), yTicks: ticks(y0, y1, 5) };
}

const widen = (a: number, b: number): [number, number] => (b > a ? [a, b] : [a - Math.abs(a || 1) * 0.01, b + Math.abs(b || 1) * 0.01]);

export function ticks(low: number, high: number, most: number): number[] {
  const raw = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((k) => k * power).find((s) => s >= raw) ?? raw;
  const out = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k++) out.push(Number((k * step).toPrecision(12)));
  return out;
}

// ---- saving ----------------------------------------------------------------------------------------------------------

/** The drawing with its colours written out, so that it looks the same anywhere. */
export function standalone(svg: SVGSVGElement): string {
  const copy = svg.cloneNode(true) as SVGSVGElement;
  copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
  const style = getComputedStyle(document.documentElement);
  const paint = (value: string) => value.replace(/var\((--[\w-]+)\)/g, (_, name: string) => style.getPropertyValue(name).trim());
  for (const element of copy.querySelectorAll("*"))
    for (const name of ["fill", "stroke"]) {
      const value = element.getAttribute(name);
      if (value?.includes("var(")) element.setAttribute(name, paint(value));
    }
  const paper = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  paper.setAttribute("width", "100%");
  paper.setAttribute("height", "100%");
  paper.setAttribute("fill", style.getPropertyValue("--paper").trim());
  copy.prepend(paper);
  return new XMLSerializer().serializeToString(copy);
}

const fileName = (title: string) => title.replace(/[^\w.-]+/g, "-").toLowerCase();

export function saveSvg(svg: SVGSVGElement, title: string): void {
  download(`${fileName(title)}.svg`, new Blob([standalone(svg)], { type: "image/svg+xml" }));
}

export async function savePng(svg: SVGSVGElement, title: string): Promise<void> {
  const url = URL.createObjectURL(new Blob([standalone(svg)], { type: "image/svg+xml" }));
  const image = new Image();
  image.src = url;
  await image.decode();
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [2 * svg.clientWidth, 2 * svg.clientHeight];
  canvas.getContext("2d")?.drawImage(image, 0, 0, canvas.width, canvas.height);
  URL.revokeObjectURL(url);
  canvas.toBlob((blob) => blob && download(`${fileName(title)}.png`, blob), "image/png");
}

export const seriesColour = (k: number) => {
  const colours = theme.value === "dark" ? ["#5ab4f0", "#ff8f4d", "#3ddbaa", "#e591cb", "#f0d95a", "#8fd0f5"] : ["#0b62a8", "#c04f00", "#00805f", "#a23f8f", "#7d6000", "#3f7fa8"];
  return colours[k % colours.length];
};

import { useEffect, useState } from "preact/hooks";
import { Chart, seriesColour, type Series } from "../chart";
import { ago, count, money, num, span, worth } from "../format";
import { CandidateLink, Card, Empty, failed, Gain, Loading, Problem, Status, useJson } from "../parts";
import { act, batch, go, href, query, setQuery } from "../state";
import type { Curve, RunPage, Spend } from "../types";

const AXES: [keyof Spend, string][] = [["evaluations", "Evaluations"], ["seconds", "Wall time"], ["money", "Money"], ["gpu_seconds", "GPU time"]];

export function Run({ run }: { run: string }) {
  const version = useThrottled(batch.value?.version ?? 0, 400);
  const { data, error, reload } = useJson<RunPage>(href(run) + ".json", version);
  const indexing = data !== null && !data.indexed;
  useEffect(() => {
    if (!indexing) return;
    const later = setTimeout(reload, data.candidates > 20000 ? 4000 : 700); // the page of a long run is work, and so is indexing
    return () => clearTimeout(later);
  }, [data, error]);
  if (!data) return error ? <Problem text={error} /> : <Loading />;
  return (
    <div class="run-grid">
      {error && <Problem text={error} />}
      {data.failed && <Problem text={data.failed} />}
      <Headline data={data} run={run} />
      {Object.entries(data.curves).map(([task, curve]) => <Best key={task} task={task} curve={curve} run={run} several={data.tasks.length > 1} indexed={data.indexed} />)}
      <div class="stack">
        <Budget data={data} />
        <Failures data={data} run={run} />
        <Models data={data} />
        <Trust data={data} />
        <Memory data={data} run={run} />
      </div>
      <div class="stack">
        <Operators data={data} />
        <Feed data={data} run={run} />
      </div>
    </div>
  );
}

/** A value that changes at most every `wait` ms, so that a fast run does not make a page reload all the time. */
export function useThrottled<T>(value: T, wait: number): T {
  const [shown, show] = useState(value);
  useEffect(() => {
    const later = setTimeout(() => show(value), wait);
    return () => clearTimeout(later);
  }, [value]);
  return shown;
}

function Headline({ data, run }: { data: RunPage; run: string }) {
  const state = data.closed ? `ended: ${data.closed}` : data.state === "running" && data.now - data.last > 60 ? `quiet for ${span(Math.floor(data.now - data.last))}` : data.state;
  return (
    <section class="headline wide" aria-label="Summary">
      {data.tasks.map(({ task, metric, champion }) => (
        <div key={task} class="big">
          <span class="dim">{data.tasks.length > 1 ? `${task}: best ` : "Best "}{metric.name}{metric.unit ? `, ${metric.unit}` : ""}</span>
          <strong>{worth(metric, champion?.fitness)}</strong>
          {champion && <span><CandidateLink run={run} number={champion.number}>candidate #{champion.number}</CandidateLink>{champion.self_reported && <> <Status line={champion} /></>}</span>}
        </div>
      ))}
      <div class="big"><span class="dim">Evaluated</span><strong>{count(data.evaluations)}</strong><span class="dim">{count(data.candidates)} candidates, {count(data.scored)} scored</span></div>
      <div class="big"><span class="dim">Wall time</span><strong>{span(data.budget.used.seconds)}</strong><span class="dim">{data.budget.per_1000 !== null ? `${span(data.budget.per_1000)} per 1000` : ""}</span></div>
      <div class="big"><span class="dim">State</span><strong class="state">{state}</strong><span class="dim">last event {ago(data.now, data.last)}</span></div>
      <p class="dim facts">
        mutator {data.mutator || "unknown"} · selector {data.selector || "unknown"} · seed {data.seed} · evolve {data.tool}
        {data.calibrations.map((c) => <span key={c.epoch}> · noise floor of {c.task}: {Object.entries(c.sigma).map(([name, sigma]) => `${name} ${sigma === 0 ? "repeats exactly" : "σ " + num(sigma, 3)}`).join(", ")} ({c.dof + 1} runs of the seed)</span>)}
      </p>
    </section>
  );
}

function Best({ task, curve, run, several, indexed }: { task: string; curve: Curve; run: string; several: boolean; indexed: boolean }) {
  const wanted = query.value.get("x") as keyof Spend | null;
  const axis = AXES.some(([name]) => name === wanted) ? (wanted as keyof Spend) : "evaluations";
  const { metric } = curve;
  const show = (f: number) => metric.sign * f;
  const steps: Series["steps"] = curve.points.filter((p) => p.fitness !== null).map((p) => [p[axis], show(p.fitness ?? 0), p.low === null ? undefined : show(p.low), p.high === null ? undefined : show(p.high)]);
  const series: Series[] = [];
  if (axis === "evaluations") {
    series.push({ name: curve.binned > 1 ? `candidates (best and median of every ${curve.binned})` : "candidates", colour: "var(--cloud)",
      points: curve.cloud.map(([x, f, n]) => ({ x, y: show(f), label: `#${n}  ${num(show(f))}`, href: href(run, "c", n) })) });
    for (const [name, dash, found] of [["random search", "5 4", curve.control], ["greedy", "1.5 3", curve.greedy]] as const) {
      const control = found.filter(([, best]) => best !== null) as [number, number][];
      if (control.length) series.push({ name: `${name} beside it (control)`, colour: "var(--dim)", dash, steps: control.map(([n, f]) => [n, show(f)]) });
    }
  }
  series.push({ name: "best so far, 95% interval", colour: seriesColour(0), steps,
    points: curve.points.filter((p) => p.fitness !== null).map((p) => ({ x: p[axis], y: show(p.fitness ?? 0), strong: true, href: p.number === null ? undefined : href(run, "c", p.number), label: `#${p.number}  ${num(show(p.fitness ?? 0))}${p.gain !== null ? `  (${p.gain >= 0 ? "gain" : "loss"} ${num(Math.abs(p.gain), 3)})` : ""}  ${p.idea}` })) });
  const nothing = axis !== "evaluations" && axis !== "seconds" && !curve.end[axis];
  const ys = steps.length ? focus(curve, show) : undefined;
  return (
    <Card title={several ? `Best so far: ${task}` : "Best so far"} id={`best-${task}`} note={indexed ? "" : "reading the log…"}
      actions={<div class="tabs" role="group" aria-label="Against">{AXES.map(([name, label]) => <button type="button" key={name} aria-pressed={axis === name} onClick={() => setQuery({ x: name === "evaluations" ? "" : name })}>{label}</button>)}</div>}>
      {nothing ? <Empty>{axis === "money" ? "Nothing was spent on models in this run." : "No evaluation of this run took a GPU."}</Empty>
        : <Chart title={`${run} ${task} best so far`} series={series} xLabel={AXES.find(([n]) => n === axis)?.[1] ?? ""} yLabel={`${metric.name}${metric.unit ? ` (${metric.unit})` : ""}`} end={curve.end[axis]} yRange={ys}
            xFormat={axis === "seconds" || axis === "gpu_seconds" ? span : axis === "money" ? money : undefined} height={300} onPick={go} />}
      <details class="as-table"><summary>As a table</summary>
        <div class="scroll"><table class="grid"><thead><tr><th>Champion</th><th class="right">{metric.name}</th><th class="right">Gain, lower bound</th><th class="right">Evaluations</th><th class="right">Wall time</th><th>Idea</th></tr></thead>
          <tbody>{curve.points.map((p, k) => <tr key={k}><td><CandidateLink run={run} number={p.number} /></td><td class="right number">{worth(metric, p.fitness)}</td><td class="right number">{p.gain !== null && k > 0 ? <><Gain value={metric.sign * p.gain} better={p.gain >= 0} /> {p.gain_low !== null && p.gain_low !== p.gain && <span class="dim">≥ {num(p.gain_low, 3)}</span>}</> : ""}</td><td class="right number">{p.evaluations}</td><td class="right">{span(p.seconds)}</td><td class="idea">{p.idea}</td></tr>)}</tbody></table></div>
      </details>
    </Card>
  );
}

/** The stretch worth looking at: from somewhat below the seed to above the best; wild losers are cut off. */
function focus(curve: Curve, show: (f: number) => number): [number, number] | undefined {
  const values = curve.points.map((p) => p.fitness).filter((f): f is number => f !== null);
  const spread = curve.points.flatMap((p) => [p.low, p.high]).filter((f): f is number => f !== null);
  const control = [...curve.control, ...curve.greedy].map(([, f]) => f).filter((f): f is number => f !== null);
  const [low, high] = [Math.min(...values, ...spread, ...control), Math.max(...values, ...spread, ...curve.cloud.map((p) => p[1]))];
  if (!(high > low)) return undefined;
  const bounds = [show(low - 0.25 * (high - low)), show(high)];
  return [Math.min(...bounds), Math.max(...bounds)];
}

const UNIT: Record<string, (v: number) => string> = { evaluations: count, seconds: span, money, tokens: count, gpu_seconds: span };
const LABEL: Record<string, string> = { evaluations: "Evaluations", seconds: "Wall time", money: "Money", tokens: "Tokens", gpu_seconds: "GPU time" };

function Budget({ data }: { data: RunPage }) {
  const { limits, used, forecast } = data.budget;
  return (
    <Card title="Budget">
      <dl class="meters">
        {Object.keys(LABEL).filter((what) => what in limits || used[what] > 0).map((what) => {
          const show = UNIT[what];
          const share = what in limits && limits[what] > 0 ? Math.min(used[what] / limits[what], 1) : null;
          return (
            <div key={what}>
              <dt>{LABEL[what]}</dt>
              <dd>{show(used[what])}{what in limits && <span class="dim"> of {show(limits[what])}</span>}
                {share !== null && <span class="meter" role="img" aria-label={`${Math.round(share * 100)} percent used`}><i style={{ width: `${share * 100}%` }} /></span>}</dd>
            </div>
          );
        })}
        <div><dt>Evaluators</dt><dd>{span(data.budget.evaluator_seconds)} <span class="dim">wall, {span(data.budget.evaluator_cpu)} CPU</span></dd></div>
        {data.budget.errors > 0 && <div><dt>Failures of our own</dt><dd class="bad">{data.budget.errors}</dd></div>}
      </dl>
      <p class="dim">{data.closed ? `The run ended: ${data.closed}.` : forecast ? `At this pace, ${LABEL[forecast.limit].toLowerCase()} is used up in ${span(forecast.seconds)}.` : "No limit is set: it goes on until stopped."}
        {data.budget.money_unknown > 0 && ` The price of ${data.budget.money_unknown} answers is unknown and not in the sum.`}</p>
    </Card>
  );
}

function Operators({ data }: { data: RunPage }) {
  return (
    <Card title="Operators">
      <div class="scroll"><table class="grid">
        <thead><tr><th>Operator</th><th class="right">Born</th><th class="right">Scored</th><th class="right">Beat parent</th><th class="right">Champions</th><th class="right">Best gain</th></tr></thead>
        <tbody>{data.operators.filter((row) => row.born > 0 || (row.refused ?? 0) > 0).map((row) => (
          <tr key={row.operator}><td>{row.operator}</td><td class="right number">{row.born}{row.refused ? <span class="dim"> +{row.refused} refused</span> : ""}</td><td class="right number">{row.scored ?? 0}</td>
            <td class="right number">{row.better ?? 0}{row.scored ? <span class="dim"> {Math.round((100 * (row.better ?? 0)) / row.scored)}%</span> : ""}</td><td class="right number">{row.champions ?? 0}</td>
            <td class="right number">{row.best_gain ? num(row.best_gain, 3) : ""}</td></tr>
        ))}</tbody>
      </table></div>
    </Card>
  );
}

function Failures({ data, run }: { data: RunPage; run: string }) {
  const rows: [string, number, string][] = [
    ...Object.entries(data.failures).map(([kind, n]): [string, number, string] => [kind, n, `${href(run, "table")}?kind=${encodeURIComponent(kind)}`]),
    ...Object.entries(data.refused).map(([why, n]): [string, number, string] => [`refused: ${why}`, n, ""]),
  ];
  rows.sort((a, b) => b[1] - a[1]);
  const most = Math.max(...rows.map((r) => r[1]), 1);
  return (
    <Card title="Failures by kind" note="of candidates; refused ones made no commit">
      {!rows.length && <Empty>None so far.</Empty>}
      <ul class="bars">{rows.map(([kind, n, to]) => (
        <li key={kind}>{to ? <a href={to}>{kind}</a> : <span>{kind}</span>}<span class="bar"><i style={{ width: `${(100 * n) / most}%` }} class={to ? "" : "refused"} /></span><b>{n}</b></li>
      ))}</ul>
    </Card>
  );
}

function Models({ data }: { data: RunPage }) {
  const rows = Object.entries(data.models);
  return (
    <Card title="Models">
      {!rows.length ? <Empty>No model was called: mutator {data.mutator || "unknown"} writes without one.</Empty> : (
        <div class="scroll"><table class="grid"><thead><tr><th>Model</th><th class="right">Calls</th><th class="right">Tokens</th><th class="right">Money</th><th class="right">Seconds a call</th><th class="right">Born</th><th class="right">Beat parent</th><th class="right">Champions</th></tr></thead>
          <tbody>{rows.map(([name, row]) => <tr key={name}><td>{name}</td><td class="right number">{row.calls}</td><td class="right number">{count(row.tokens)}</td><td class="right number">{money(row.money)}</td><td class="right number">{num(row.seconds / row.calls, 3)}</td>
            <td class="right number">{row.born}</td><td class="right number">{row.better}{row.scored > 0 && <span class="dim"> {Math.round((100 * row.better) / row.scored)}%</span>}</td><td class="right number">{row.champions}</td></tr>)}</tbody></table></div>
      )}
    </Card>
  );
}

function Trust({ data }: { data: RunPage }) {
  const checks = Object.entries(data.checks);
  const self = data.tasks.some((t) => t.champion?.self_reported);
  return (
    <Card title="Integrity">
      <p>Evaluations ran {Object.entries(data.sandboxes).map(([rung, n]) => `${n} in ${rung}`).join(", ") || "nowhere yet"}.
        {self && <> Figures are <span class="chip self">self-reported</span>: taken from the candidate's own output or process.</>}</p>
      {!checks.length ? <Empty>This task's evaluator ran no integrity checks.</Empty> : (
        <div class="scroll"><table class="grid"><thead><tr><th>Check</th><th>Outcomes</th></tr></thead><tbody>
          {checks.map(([name, outcomes]) => <tr key={name}><td>{name}</td><td>{Object.entries(outcomes).map(([outcome, n]) => <span key={outcome} class={`chip ${outcome === "passed" ? "scored" : outcome}`}>{n} {outcome}</span>)}</td></tr>)}
        </tbody></table></div>
      )}
    </Card>
  );
}

function Memory({ data, run }: { data: RunPage; run: string }) {
  const { lessons, tactics, directives } = data.memory;
  return (
    <Card title="Lessons and directives">
      {!lessons.length && !tactics.length && !directives.length && <Empty>None recorded. <code>evolve note "…"</code> gives a directive to every later brief.</Empty>}
      <ul class="plain">
        {directives.map((x, k) => <li key={`d${k}`}><span class="chip">directive</span> {x.text}</li>)}
        {tactics.map((x, k) => <li key={`t${k}`}><span class="chip">tactic: {x.family}</span> {x.text}</li>)}
        {lessons.slice(-30).map((x, k) => <li key={`l${k}`}><span class="chip">{x.falsified ? "falsified lesson" : "lesson"}</span> {x.text}</li>)}
      </ul>
      {data.actions ? <Steer run={run} state={data.state} /> : null}
    </Card>
  );
}

function Steer({ run, state }: { run: string; state: string }) {
  const [text, setText] = useState("");
  const [said, say] = useState("");
  const send = (body: Record<string, unknown>) => act(run, body).then(() => { say("On record."); setText(""); }, (error) => say(failed(error)));
  return (
    <form class="steer" onSubmit={(event) => { event.preventDefault(); void send({ action: "directive", text }); }}>
      <label for="directive">A word to all later briefs</label>
      <textarea id="directive" rows={2} value={text} onInput={(event) => setText(event.currentTarget.value)} />
      <div class="row"><button type="submit" disabled={!text.trim()}>Give directive</button>
        {state === "running" ? <button type="button" onClick={() => send({ action: "pause" })}>Pause</button> : <button type="button" onClick={() => send({ action: "resume" })}>Resume</button>}
        <button type="button" class="danger" onClick={() => window.confirm("Let the run finish what it does and end?") && send({ action: "stop" })}>Stop</button>
        <span role="status">{said}</span></div>
    </form>
  );
}

function Feed({ data, run }: { data: RunPage; run: string }) {
  const metric = data.tasks[0]?.metric;
  const [all, setAll] = useState(false);
  const shown = data.feed.filter((entry) => all || !(entry.kind === "born" || entry.kind === "refused" || entry.text.startsWith("invalid"))).slice(0, all ? 80 : 24);
  return (
    <Card title="What happened last" actions={<button type="button" class="quiet" onClick={() => setAll(!all)} aria-pressed={all}>{all ? "Less" : "More"}</button>}>
      <ol class="feed" id="feed">{shown.map((entry, k) => (
        <li key={`${entry.time}${k}`} class={entry.kind}><time class="dim">{ago(data.now, entry.time)}</time>
          <span>{entry.number !== undefined && <><CandidateLink run={run} number={entry.number} /> </>}{entry.text}{entry.kind === "judged" && entry.fitness !== null && entry.fitness !== undefined && <> <b>{worth(metric, entry.fitness)}</b></>}</span></li>
      ))}</ol>
    </Card>
  );
}



import { Chart, seriesColour } from "../chart";
import { num, worth } from "../format";
import { CandidateLink, Card, Empty, Lines, Loading, Problem, useJson, Worth } from "../parts";
import { batch, go, href } from "../state";
import type { IslandsPage } from "../types";
import { useThrottled } from "./run";

export function Islands({ run }: { run: string }) {
  const version = useThrottled(batch.value?.version ?? 0, 800);
  const { data, error } = useJson<IslandsPage>(href(run, "islands") + ".json", version);
  if (!data) return error ? <Problem text={error} /> : <Loading />;
  const tasks = [...new Set(data.islands.map((x) => x.task))];
  return (
    <div class="stack">
      {error && <Problem text={error} />}
      {!data.islands.length && <Card title="Islands"><Empty>Nothing was judged yet.</Empty></Card>}
      {tasks.map((task) => {
        const islands = data.islands.filter((x) => x.task === task);
        const metric = data.metrics[task];
        const end = Math.max(...islands.flatMap((x) => x.series.map((p) => p[0])), 1);
        return (
          <Card key={task} title={tasks.length > 1 ? `Islands of ${task}` : "Islands"} id={`islands-${task}`} note="lineages that share the budget; each is a branch">
            <Chart title={`${run} ${task} islands`} xLabel="Verdicts, all islands" yLabel={metric?.name ?? "fitness"} end={end} onPick={go}
              series={islands.map((x, k) => ({ name: x.island, colour: seriesColour(k), steps: x.series.map(([n, f]) => [n, (metric?.sign ?? 1) * f] as [number, number]),
                points: x.series.map(([n, f, c]) => ({ x: n, y: (metric?.sign ?? 1) * f, strong: true, label: `#${c}  ${worth(metric, f)}  ${x.island}`, href: href(run, "c", c) })) }))} />
            <div class="scroll"><table class="grid">
              <thead><tr><th>Island</th><th>Best</th><th class="right">Verdicts</th><th class="right">Live members</th><th class="right">Recent credit</th><th class="right">Since its last gain</th><th><span class="sr">Links</span></th></tr></thead>
              <tbody>{islands.map((x) => (
                <tr key={x.island}><td><b>{x.island}</b></td><td>{x.best && <><CandidateLink run={run} number={x.best.number} /> <Worth metric={metric} line={x.best} /></>}</td>
                  <td class="right number">{x.evaluated}</td><td class="right number">{x.members.length}</td><td class="right number">{num(x.gain, 3)}</td><td class="right number">{x.stalled}</td>
                  <td><a href={`${href(run, "lineage")}?colour=island&island=${encodeURIComponent(x.island)}`}>in the lineage</a></td></tr>
              ))}</tbody></table></div>
            {islands.map((x) => (
              <details key={x.island}><summary>Live members of {x.island} ({x.members.length}): who may be a parent now</summary><Lines run={run} lines={x.members} metric={metric} empty="None." /></details>
            ))}
          </Card>
        );
      })}
      <p class="dim">What kinds of program were found, whatever their island: <a href={href(run, "cells")}>the MAP-Elites map</a>.</p>
    </div>
  );
}

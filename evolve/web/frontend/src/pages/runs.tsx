import { ago } from "../format";
import { Card, Empty, Loading, Problem, useJson, Worth } from "../parts";
import { href } from "../state";
import type { Summary } from "../types";

export function Runs() {
  const { data, error } = useJson<{ runs: Summary[] }>("/index.json");
  if (error) return <Problem text={error} />;
  if (!data) return <Loading />;
  const now = Date.now() / 1000;
  return (
    <Card title="Runs" note="in this archive">
      {!data.runs.length && <Empty>No run yet: <code>evolve run</code> starts one.</Empty>}
      <ul class="runs">
        {data.runs.map((run) => (
          <li key={run.run}>
            <a href={href(run.run)}><b>{run.run}</b></a>
            <span class="dim">{run.evaluations} evaluated · {run.closed || run.state} · last event {ago(now, run.last)}</span>
            {run.tasks.map((task) => <span key={task.task}>{task.task}: {task.champion ? <Worth metric={task.metric} line={task.champion} /> : "no champion yet"}</span>)}
          </li>
        ))}
      </ul>
    </Card>
  );
}

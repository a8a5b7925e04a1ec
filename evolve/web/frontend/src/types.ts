// The shapes of the JSON twins (evolve/web/pages.py, details.py, columns.py).

export type Metric = { name: string; unit: string; sign: number; goal: "min" | "max" };

export type Line = {
  number: number; commit: string; task: string; fitness: number | null; low: number | null; high: number | null;
  status: string; kind: string; reason: string; standing: string; operator: string; model: string; island: string;
  idea: string; born: number; depth: number; children: number; pinned: boolean; champion: boolean;
  was_champion: boolean; self_reported: boolean;
};

export type TaskLine = { task: string; metric: Metric; champion: Line | null };

export type Summary = {
  run: string; tasks: TaskLine[]; candidates: number; evaluations: number; state: string; closed: string; last: number;
};

export type Point = {
  evaluations: number; seconds: number; money: number; gpu_seconds: number; fitness: number | null; low: number | null;
  high: number | null; gain: number | null; gain_low: number | null; time: number; number: number | null; idea: string;
};

export type Spend = { evaluations: number; seconds: number; money: number; gpu_seconds: number };

export type Curve = {
  metric: Metric; points: Point[]; control: [number, number | null][]; greedy: [number, number | null][]; cloud: [number, number, number][];
  binned: number; evaluations: number; end: Spend;
};

export type Operator = {
  operator: string; asked?: number; refused?: number; born: number; scored?: number; better?: number;
  champions?: number; best_gain?: number | null;
};

export type FeedEntry = { kind: string; time: number; text: string; number?: number; fitness?: number | null };

export type RunPage = Summary & {
  indexed: boolean; index_events: number; failed: string; version: number; mutator: string; selector: string;
  seed: number; tool: string; scored: number; refused: Record<string, number>; failures: Record<string, number>;
  calibrations: { task: string; epoch: string; dof: number; sigma: Record<string, number> }[];
  curves: Record<string, Curve>; operators: Operator[];
  models: Record<string, { calls: number; money: number; tokens: number; seconds: number; born: number; scored: number; better: number; champions: number }>;
  budget: {
    limits: Record<string, number>; used: Record<string, number>; money_unknown: number; calls: number;
    evaluator_seconds: number; evaluator_cpu: number; errors: number;
    forecast: { limit: string; seconds: number } | null; per_1000: number | null;
  };
  pending: { briefs: number; candidates: number };
  memory: {
    lessons: { task: string; text: string; falsified: boolean }[];
    tactics: { task: string; family: string; text: string }[];
    directives: { task: string; text: string }[];
  };
  sandboxes: Record<string, number>; checks: Record<string, Record<string, number>>;
  feed: FeedEntry[]; now: number; actions: boolean;
};

export type Island = {
  task: string; island: string; evaluated: number; gain: number; stalled: number; best: Line | null; members: Line[];
  series: [number, number, number][];
};

export type IslandsPage = { islands: Island[]; metrics: Record<string, Metric>; tasks: string[] };

export type CellsPage = {
  task: string; tasks: string[]; metric: Metric; descriptors: { name: string; unit: string; what: string }[];
  declared: string[]; x: string; y: string; columns: number[]; rows: number[];
  cells: [number, number, number, number, number][]; placed: number; scored: number; filled: [number, number][];
  selector: string; steers: boolean | null; indexed: boolean;
};

export type ParetoPage = {
  task: string; tasks: string[]; x: string; y: string; metrics: { name: string; goal: string; unit: string }[];
  objectives: string[]; points: [number, number, number][]; front: [number, number, number][]; total?: number;
};

export type DiffLine = [string, number | null, number | null, string];
export type DiffFile = {
  path: string; old_path: string; status: string; binary: boolean; added: number; removed: number;
  hunks: { header: string; lines: DiffLine[] }[];
};
export type Difference = { from?: string; to?: string; files: DiffFile[]; cut: number };

export type Estimate = { mean: number; low: number; high: number; n: number };

export type Evidence = {
  oid: string; time: number; job: string; stage: string; sandbox: string; machine: string; epoch: string;
  self_reported: boolean; secret: string; cost: { wall?: number; cpu?: number; gpu?: number };
  samples: { block: number; metrics: Record<string, number>; seconds: number; own: boolean }[];
  failure: { kind: string; message: string } | null;
  checks: { name: string; outcome: string; detail?: string }[]; facts: Record<string, unknown>;
};

export type Relative = Partial<Line> & { commit: string; number: number | null };

export type CandidatePage = Line & {
  tree: string; brief: number; indexed: boolean; version: number; metric: Metric; units: Record<string, string>;
  goals: Record<string, string>; stage: string; metrics: Record<string, Estimate>; base_metrics: Record<string, number>;
  message: string; parents: Relative[]; inspired_by: Relative[]; ancestors: Line[]; ancestors_total: number;
  children_list: Line[]; descendants: number; evidence: Evidence[];
  reigns: { gain?: number | null; low?: number | null; blocks: number; tries: number }[];
  events: { kind: string; time: number; text: string; oid: string }[];
  artifacts: { event: string; kind: string; name: string }[];
  request: null | {
    brief: Record<string, unknown>; calls: number; model: string; tokens_in: number; tokens_out: number;
    seconds: number; money: number | null;
  };
  lessons: { text: string; falsified: boolean }[]; take: { label: string; commands: string[] }[];
  neighbours: { next: number | null; previous: number | null; parent: number | null; child: number | null };
  actions: boolean;
};

export type TablePage = {
  total: number; offset: number; rows: Line[]; values: Record<string, string[]>;
  metrics: Record<string, { name: string; sign: number; unit: string }>; version: number;
};

export type Columns = {
  n: number; version: number; seen: Record<string, number>; first: number; number: number[] | null;
  second: [number, number][]; parent: number[]; fitness: (number | null)[]; born: number[]; status: number[];
  standing: number[]; flags: number[]; island: number[]; operator: number[]; model: number[]; task: number[];
  tables: Record<string, string[]>; paths: Record<string, number[]>; metrics: Record<string, Metric>;
};

export type Row = [
  number, number, number, number, number | null, number, number, number, number, string, string, string, string,
];

export type Batch = {
  seen: Record<string, number>; version: number; n: number; rows: Row[]; feed: FeedEntry[]; sent: number;
};

/**
 * What an experiment is: jobs that are measured one by one, the claims that they decide, a page and figures.
 *
 * `reproduce.ts` runs it. Every run is a line of NAME.runs.jsonl as soon as it is done, and the same command goes on where
 * it stopped; then NAME.json, NAME.md and the figures are made from the runs alone.
 */
import type { Spec } from 'vega'

/** What is measured. Its fields say all that decides the outcome, sizes and data included. */
export interface Job {
  readonly seed: number
}

/** What stands beside every outcome. */
export interface Stamp {
  /** Hash of the experiment's sources when it ran. */
  sources: string
  /** That it ran at. */
  commit?: string
  /** Fingerprint of the machine that it ran on, as one line. */
  machine: string
}

export interface JobOptions {
  /** For continuous integration: at most 30 seconds, one seed. */
  quick: boolean
  seeds: readonly number[]
  /** Which of the jobs, in the experiment's own words. @default all */
  only?: readonly string[] | undefined
}

export interface Context {
  /** The folder that `interop/assets.sh` filled. */
  assets: string | undefined
  quick: boolean
  /** The last record of the full experiment, where there is one. */
  record: Result | undefined
  /** Hash of the sources now. */
  sources: string
  say(text: string): void
}

/** NAME.json. */
export interface Result<R = unknown> {
  experiment: string
  /** Of the tree that the page was made in. */
  commit: string
  command: string
  sources: string
  seeds?: readonly number[]
  machines?: readonly string[]
  /** Means and spreads over seeds. */
  summary?: unknown
  runs: readonly R[]
}

export interface Claim {
  text: string
  /** Absent where the runs that decide it are missing. */
  holds?: boolean
  found: string
}

export interface Experiment<
  J extends Job = Job,
  R extends J & Stamp = J & Stamp,
  S extends Result<R> = Result<R>,
> {
  readonly name: string
  readonly title: string
  /** Files whose change makes results stale: the method and what it uses. */
  readonly sources: readonly string[]
  /** Pages below docs/systems that show a part of the results. */
  readonly systems: readonly string[]
  /** Groups of `interop/assets.sh` that it reads; none where the repository has all of it. */
  assets(quick: boolean): readonly string[]
  jobs(options: JobOptions): J[]
  /** One line: what is measured, and nothing of how. */
  describe(job: J): string
  /** What a run has besides the fields of its job. */
  measure(job: J, context: Context): Promise<Omit<R, keyof Stamp | keyof J>>
  /** One line: what came out. */
  outcome(run: R): string
  /** Facts of the record and of all new runs, before the first. @default none */
  begin?(context: Context): Promise<{ record: object; run: object }>
  /** The runs of a journal that stand in the record. @default of each present job the latest with the present sources */
  pick?(runs: readonly R[], record: Omit<S, 'runs'>, jobs: readonly J[]): R[]
  /** Whether a run that was picked needs no other one. @default yes */
  isDone?(run: R, job: J, record: Omit<S, 'runs'>): boolean
  /** Means and spreads over seeds, for the record. */
  summary(runs: readonly R[]): unknown
  claims(result: S): Claim[]
  /** @param stale whether a source changed after the runs */
  page(result: S, stale: boolean): string
  /** What the page of a system shows. */
  part(result: S, system: string): string
  /** By file name. */
  figures(result: S): ReadonlyMap<string, Spec>
  /** Orders with a wide margin that a quick run misses, one sentence each. */
  failures(result: S, context: Context): string[]
}

/** An experiment whatever its runs are. */
// biome-ignore lint/suspicious/noExplicitAny: runs of different experiments have nothing in common
export type AnyExperiment = Experiment<any, any, any>

/** Stands in a page whose sources changed after the run. */
export const staleMark =
  '> Stale: the code of the method changed after this was measured. Run the command below again.'

/** One line a claim, for a page. */
export const claimLines = (claims: readonly Claim[]): string =>
  claims
    .map(
      ({ text, holds, found }) =>
        `- ${text} **${holds === undefined ? 'Not decided' : holds ? 'Holds' : 'Does not hold'}**: ${found}.`,
    )
    .join('\n')

/** One line for each machine that runs were made on, for a page. */
export const machineLines = ({ machines = [] }: Pick<Result, 'machines'>) =>
  machines.map((machine) => `Machine: ${machine}`).join('\\\n')

/** The command that makes the results. */
export const commandOf = (name: string, quick = false): string =>
  `npx --no pare reproduce ${name}${quick ? ' --quick' : ''}`

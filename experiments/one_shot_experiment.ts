/** An experiment on one-shot methods: rows of steps over models and seeds, with a page by stored bits. */
import type { Spec } from 'vega'
import type { StepMethodName } from '#src/run/step_methods.ts'
import type { WeightStep } from '#src/run/weight_step.ts'
import { OptionError, printable } from '#src/tensor/errors.ts'
import { type Claim, commandOf, type Experiment, type JobOptions, type Result } from './experiment.ts'
import { measure, type OneShotJob, type OneShotRun, readsText, setups } from './one_shot_measure.ts'
import { figuresOf, nameOf, oneShotPage, oneShotTable, summarize } from './one_shot_page.ts'

/** What is measured on a model. */
export interface Row {
  model: string
  steps: readonly WeightStep[]
  /** At most so many of the seeds. @default all */
  seeds?: number
}

export interface OneShotPlan {
  name: string
  title: string
  /** Files whose change makes all results stale: those of the methods. Texts and sizes stand in every run. */
  sources: readonly string[]
  systems: readonly string[]
  /** The runs that stand on the page of a system. @default all */
  shown?(runs: readonly OneShotRun[], system: string): readonly OneShotRun[]
  /** In the order in which they are measured, for each seed. */
  rows: readonly Row[]
  /** Stands in each job: a hash of what decides its steps and is not in `sources`. @default none */
  codeOf?(steps: readonly WeightStep[]): string
  /** For continuous integration, on the model that comes with Pare. */
  quick: readonly Row[]
  claims(runs: readonly OneShotRun[]): Claim[]
  /** Orders with a wide margin that a quick run misses. */
  failures(runs: readonly OneShotRun[]): string[]
  /** Paragraphs of the page behind the tables. */
  remarks: string
  /** Lines of the figures. @default the methods of the steps */
  series?(run: OneShotRun): string
  /** What the page has besides, such as ranks. @default nothing */
  extra?(runs: readonly OneShotRun[]): string
  /** Figures besides, by file name. @default none */
  more?(runs: readonly OneShotRun[]): ReadonlyMap<string, Spec>
}

export function oneShotExperiment(plan: OneShotPlan): Experiment<OneShotJob, OneShotRun> {
  const { name, title, claims, failures } = plan
  return {
    name,
    title,
    sources: plan.sources,
    systems: plan.systems,
    assets: (quick) => [...(quick ? [] : ['smollm2']), 'text-moby-dick', 'text-sotu'],
    jobs: (options) => jobsOf(plan, options),
    describe,
    measure: (job, { assets }) => measure(job, assets!),
    outcome: ({ storedBits, kl, perplexity, seconds }) =>
      `${storedBits.toFixed(3)} bits, KL ${kl.toFixed(5)}, perplexity ${perplexity.toFixed(2)}, ${seconds.toFixed(0)} s`,
    summary: (runs) =>
      summarize(runs).map(({ model, name, storedBits, kl }) => ({ model, name, storedBits, kl })),
    claims: ({ runs }) => claims(runs),
    page: (result: Result<OneShotRun>, stale) => oneShotPage(plan, result, stale),
    part: ({ runs }, system) => {
      const shown = plan.shown?.(runs, system) ?? runs
      return shown.length === 0
        ? `Not measured yet: \`${commandOf(name)}\` writes the numbers.`
        : oneShotTable(summarize(shown))
    },
    figures: ({ runs }) => new Map([...figuresOf(plan, runs), ...(plan.more?.(runs) ?? [])]),
    failures: ({ runs }) => failures(runs),
  }
}

const describe = ({ model, name, seed }: OneShotJob) => `${model}: ${name}, seed ${seed}`

/** Seed by seed; what reads no text is measured once. */
function jobsOf({ rows, quick: few, codeOf }: OneShotPlan, { quick, seeds, only }: JobOptions): OneShotJob[] {
  const jobs = seeds.flatMap((seed, at) =>
    (quick ? few : rows).flatMap(({ model, steps, seeds: most = seeds.length }): OneShotJob[] => {
      if (at >= (readsText(steps) ? most : 1)) return []
      const setup = quick ? setups.quick : model === 'smollm2' ? setups.smollm2 : setups.zoo
      const code = codeOf && { code: codeOf(steps) }
      return [{ model, name: nameOf(steps), steps, seed: readsText(steps) ? seed : 0, setup, ...code }]
    }),
  )
  for (const word of only ?? [])
    if (!jobs.some((job) => describe(job).includes(word)))
      throw new OptionError(
        `--only ${printable(word)}: stands in the name of no job; names are such as "${describe(jobs[0]!)}"`,
      )
  return jobs.filter((job) => !only || only.some((word) => describe(job).includes(word)))
}

/** A step with the options that are said. */
export const step = (method: StepMethodName, options: Omit<WeightStep, 'method'> = {}): WeightStep => ({
  method,
  ...options,
})

/** Rows of one model. */
export const rowsOf = (model: string, ...rows: readonly (readonly WeightStep[])[]): Row[] =>
  rows.map((steps) => ({ model, steps }))

/** Rows that take minutes: one seed, so that they say nothing about the spread. */
export const oneSeed = (rows: readonly Row[]): Row[] => rows.map((row) => ({ ...row, seeds: 1 }))

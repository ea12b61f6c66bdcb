/**
 * What EoRA is calibrated on: inputs behind everything that was compressed and repaired before, as `compress` does, or those
 * of the source. Round to nearest with a repair of rank 8 on lm-6m.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { GramStatistic } from '#src/calibrate/statistics.ts'
import { drawSamples, readTokens } from '#src/calibrate/text_samples.ts'
import { walk } from '#src/calibrate/walk.ts'
import { languageMetrics } from '#src/metrics/language.ts'
import { cutWindows, tokensOfWindows } from '#src/metrics/windows.ts'
import { Llama } from '#src/models/llama/llama.ts'
import { openLanguageModel } from '#src/models/load_model.ts'
import type { OpenLanguageModel } from '#src/models/open_model.ts'
import { affineGrid } from '#src/nn/grid.ts'
import type { Linear } from '#src/nn/linear.ts'
import type { StoredSource } from '#src/nn/values/values.ts'
import { denseSource } from '#src/nn/weight_source.ts'
import { rtn } from '#src/quantize/rtn.ts'
import { eora } from '#src/recover/eora.ts'
import { scope, type Tensor, tensor } from '#src/tensor/index.ts'
import {
  type Claim,
  claimLines,
  commandOf,
  type Experiment,
  type Job,
  machineLines,
  type Result,
  type Stamp,
  staleMark,
} from './experiment.ts'
import { lineFigure } from './figure.ts'
import { zooModel } from './models/zoo.ts'
import { withWeights } from './obc_methods.ts'
import { type Setup, setups, zooTexts } from './one_shot_measure.ts'
import { spreadOf } from './spread.ts'
import { groupBy, table } from './table.ts'

interface InputsJob extends Job {
  model: string
  bits: 2 | 3
  inputs: 'compensated' | 'original'
  setup: Setup
}
type InputsRun = InputsJob & Stamp & { kl: number; klStandardError: number; perplexity: number }

const rank = 8
const widths = [3, 2] as const

export const eoraInputs: Experiment<InputsJob, InputsRun> = {
  name: 'eora_inputs',
  title: 'EoRA: which inputs to calibrate on',
  sources: [
    ...['eora', 'error_space', 'low_rank_error'].map((name) => `src/recover/${name}.ts`),
    'src/quantize/rtn.ts',
    'src/calibrate/walk.ts',
  ],
  systems: [],
  assets: () => ['text-moby-dick', 'text-sotu'],
  jobs: ({ quick, seeds, only }) =>
    seeds
      .flatMap((seed) =>
        widths.flatMap((bits) =>
          (['compensated', 'original'] as const).map(
            (inputs): InputsJob => ({
              model: quick ? 'pare-4m' : 'lm-6m',
              ...{ bits, inputs, seed },
              setup: quick ? setups.quick : setups.zoo,
            }),
          ),
        ),
      )
      .filter((job) => !only || only.some((word) => eoraInputs.describe(job).includes(word))),
  describe: ({ model, bits, inputs, seed }) => `${model}: ${bits} bits, ${inputs} inputs, seed ${seed}`,
  measure: (job, { assets }) => measure(job, assets!),
  outcome: ({ kl, perplexity }) => `KL ${kl.toFixed(5)}, perplexity ${perplexity.toFixed(2)}`,
  summary: (runs) =>
    rowsOf(runs).map((same) => ({
      bits: same[0]!.bits,
      inputs: same[0]!.inputs,
      kl: spreadOf(same.map(({ kl }) => kl)),
    })),
  claims: ({ runs }) => widths.map((bits) => claimOf(runs, bits)),
  page,
  part: () => '',
  figures: ({ runs }) =>
    new Map([
      [
        'eora_inputs.svg',
        lineFigure(
          rowsOf(runs).map((same) => {
            const { mean, low, high } = spreadOf(same.map(({ kl }) => kl))
            return { series: `${same[0]!.inputs} inputs`, x: same[0]!.bits, y: mean, low, high }
          }),
          { x: { title: 'bits of a code' }, y: { title: 'KL to the source (log)', scale: 'log' } },
        ),
      ],
    ]),
  failures: ({ runs }) =>
    runs
      .filter(({ inputs }) => inputs === 'compensated')
      .flatMap(({ bits, kl }) => {
        const other = runs.find((run) => run.bits === bits && run.inputs === 'original')?.kl ?? 0
        return kl <= 1.05 * other
          ? []
          : [
              `${bits} bits: compensated inputs must have at most 1.05 of the KL of original ones, ${kl} against ${other}`,
            ]
      }),
}

const rowsOf = (runs: readonly InputsRun[]) => groupBy(runs, ({ bits, inputs }) => `${bits} ${inputs}`)

function claimOf(runs: readonly InputsRun[], bits: number): Claim {
  const of = (inputs: InputsJob['inputs']) =>
    runs.filter((run) => run.bits === bits && run.inputs === inputs && run.model === 'lm-6m')
  const ratios = of('compensated').flatMap(({ seed, perplexity }) => {
    const other = of('original').find((run) => run.seed === seed)
    return other ? [perplexity / other.perplexity] : []
  })
  const text = `lm-6m, ${bits} bits: calibrated on compensated inputs the perplexity is no higher than on those of the source.`
  if (ratios.length === 0) return { text, found: 'not run' }
  return {
    text,
    holds: ratios.every((ratio) => ratio <= 1),
    found: `${ratios.map((ratio) => ratio.toFixed(4)).join(', ')} of it (one a seed)`,
  }
}

async function measure({ model, bits, inputs, seed, setup }: InputsJob, assets: string) {
  const work = mkdtempSync(join(tmpdir(), 'pare-experiment-'))
  const open = openLanguageModel(await zooModel(model, { assets }))
  try {
    const { calibration, text } = zooTexts(assets, work)
    const reader = { tokenizer: open.tokenizer(), chatTemplates: open.chatTemplates() }
    const { samples, length, context, windows: count, every } = setup
    const drawn = drawSamples(readTokens(calibration, reader), { samples, length, seed })
    const weights = await repaired(open, drawn.samples, { bits, inputs })
    const cut = { context, count, every }
    const windows = cutWindows(readTokens(text, reader, { tokens: tokensOfWindows(cut) }), {
      ...cut,
      bos: reader.tokenizer.bosId,
    })
    const { kl, klStandardError, perplexity } = await languageMetrics({
      model: new Llama(open.model.config, withWeights(open.weights, weights)),
      ...{ against: open.model, windows },
    })
    for (const weight of weights.values()) weight.dispose()
    return { kl: kl!, klStandardError: klStandardError!, perplexity }
  } finally {
    open.close()
    rmSync(work, { recursive: true, force: true })
  }
}

/** All linear weights, rounded and repaired. The caller owns them. */
async function repaired(
  { model }: OpenLanguageModel,
  samples: readonly Uint32Array[],
  { bits, inputs }: Pick<InputsJob, 'bits' | 'inputs'>,
): Promise<Map<string, Tensor>> {
  const grid = affineGrid({ bits, groupSize: 64 })
  const [rounding, repair] = [rtn(), eora({ rank })]
  const gathered = new Map<Linear, GramStatistic>()
  /** Tensors of a visitor end with their stage. */
  const found = new Map<string, { values: Float32Array; shape: [number, number] }>()
  await walk({
    model,
    samples,
    observed: inputs === 'original' ? 'dense' : 'current',
    visitor: {
      observe(linears, x) {
        const first = linears[0]!
        const statistic = gathered.get(first) ?? new GramStatistic(first.name, x.extent(-1))
        for (const linear of linears) gathered.set(linear, statistic)
        statistic.add(x)
      },
      compress(linears) {
        const statistics = gathered.get(linears[0]!)!.value()
        for (const linear of linears) {
          linear.source = scope(() => {
            const dense = linear.source.dense()
            const task = { name: linear.name, dense, statistics }
            const rounded = rounding.compress({ ...task, current: dense, grid })
            const before = (rounded.source as StoredSource).values
            const decoded = repair.compress({ ...task, current: rounded.decoded!, before }).decoded!
            const shape = decoded.shape as [number, number]
            found.set(linear.name, { values: decoded.toArray() as Float32Array, shape })
            return denseSource(decoded)
          })
        }
      },
    },
  })
  return new Map([...found].map(([name, { values, shape }]) => [name, tensor(values, shape)]))
}

function page(result: Result<InputsRun>, stale: boolean): string {
  const cells = rowsOf(result.runs).map((same) => [
    ...[same[0]!.model, String(same[0]!.bits), same[0]!.inputs],
    same
      .map(({ kl, klStandardError }) => `${kl.toPrecision(4)} ± ${klStandardError.toPrecision(2)}`)
      .join('<br>'),
    same.map(({ perplexity }) => perplexity.toFixed(3)).join('<br>'),
    [...new Set(same.map(({ commit }) => commit ?? 'unknown'))].join(', '),
  ])
  const { samples, length, windows, context, every } = setups.zoo
  return `# ${eoraInputs.title}
${stale ? `\n${staleMark}\n` : ''}
Each linear weight is rounded to nearest in groups of 64 and repaired by EoRA of rank ${rank}, stage by stage. Compensated inputs
come from the stages before as they are after both; original ones from the source.

${claimLines(eoraInputs.claims(result))}

![KL over bits](eora_inputs.svg)

${table(['model', 'bits', 'inputs', 'KL ± standard error, one a seed', 'perplexity, one a seed', 'commit'], cells)}

${samples} × ${length} tokens of the training text calibrate, ${windows} windows of ${context} tokens of the held-out text test, every ${every}th.
KL is in nats a token, from the source; its error is that of the mean over windows.

Command: \`${commandOf('eora_inputs')}\`\\
Commit that the page was made at: ${result.commit}. Every row names the commit that it ran at.\\
${machineLines(result)}
`
}

/** The page and the figure of the encoder experiment, made from its record. */
import type { Spec } from 'vega'
import { type EncoderJob, type EncoderRun, passageWords } from './encoder_onnx_measure.ts'
import { type Claim, claimLines, commandOf, machineLines, type Result, staleMark } from './experiment.ts'
import { lineFigure } from './figure.ts'
import { type Spread, spreadOf } from './spread.ts'
import { groupBy, showSpread, table } from './table.ts'

export const nameOf = ({ method, bits, symmetric, calibration }: Omit<EncoderJob, 'seed' | 'setup'>) =>
  `${method} ${bits} bits, ${symmetric ? 'symmetric' : 'with zeros'}${calibration ? `, ${calibration}` : ''}`

/** The runs of one configuration over all seeds. */
export interface Row {
  runs: readonly EncoderRun[]
  meanCosine: Spread
  /** Of all passages and seeds. */
  leastCosine: number
}

/** Rows in the order in which their first runs stand. */
export const summarize = (runs: readonly EncoderRun[]): Row[] =>
  groupBy(runs, nameOf).map((same) => ({
    runs: same,
    meanCosine: spreadOf(same.map(({ meanCosine }) => meanCosine)),
    leastCosine: Math.min(...same.map(({ leastCosine }) => leastCosine)),
  }))

/** What the experiment is there to show. A claim that does not hold is reported as such. */
export function claims(runs: readonly EncoderRun[]): Claim[] {
  const claim = (text: string, least: number, of: Omit<EncoderJob, 'seed' | 'setup'>): Claim => {
    const found = runs.filter((run) => nameOf(run) === nameOf(of)).map(({ meanCosine }) => meanCosine)
    if (found.length === 0) return { text, found: 'not run' }
    return {
      text,
      holds: found.every((cosine) => cosine >= least),
      found: `${found.map((cosine) => cosine.toFixed(5)).join(', ')} (one a seed)`,
    }
  }
  const four = { method: 'gptq', bits: 4 } as const
  return [
    claim('At 8 bits, rounded to nearest, the mean cosine is at least 0.9994.', 0.9994, {
      method: 'rtn',
      bits: 8,
      symmetric: false,
    }),
    claim(
      'At 4 bits, with zeros, GPTQ calibrated on other parts of the speeches, it is at least 0.99.',
      0.99,
      { ...four, symmetric: false, calibration: 'other speeches' },
    ),
    claim(
      'At 4 bits, symmetric, GPTQ calibrated on other parts of the speeches, it is at least 0.99.',
      0.99,
      {
        ...four,
        symmetric: true,
        calibration: 'other speeches',
      },
    ),
    claim(
      'At 4 bits, with zeros, GPTQ calibrated on the text that comes with Pare, it is at least 0.99.',
      0.99,
      { ...four, symmetric: false, calibration: 'shipped' },
    ),
  ]
}

export function resultTable(runs: readonly EncoderRun[]): string {
  const head = [
    'method',
    'bits',
    'symmetric',
    'calibration text',
    'stored bits a linear weight',
    'MB of model.onnx',
    'mean cosine, one a seed',
    'mean cosine ± spread over seeds',
    'least cosine of a passage',
    'commit',
  ]
  const cells = summarize(runs).map(({ runs, meanCosine, leastCosine }) => {
    const { method, bits, symmetric, calibration = 'none', storedBits, bytes } = runs[0]!
    return [
      method,
      String(bits),
      symmetric ? 'yes' : 'no',
      calibration,
      storedBits.toFixed(2),
      (bytes / 1e6).toFixed(1),
      runs.map((run) => run.meanCosine.toFixed(5)).join('<br>'),
      showSpread(meanCosine, 5),
      leastCosine.toFixed(5),
      [...new Set(runs.map(({ commit }) => commit ?? 'unknown'))].join(', '),
    ]
  })
  return table(head, cells)
}

/** @param stale whether the sources differ from those that were measured. */
export function resultPage(result: Result<EncoderRun>, stale: boolean): string {
  const { setup } = result.runs[0]!
  return `# A text encoder to ONNX
${stale ? `\n${staleMark}\n` : ''}
MiniLM (all-MiniLM-L6-v2) from its safetensors file to model.onnx, the 36 linear weights of its blocks in blocks of ${setup.block}.
${setup.passages} passages of ${passageWords} words, evenly spaced in the speeches, are embedded by the floats and by the result as Pare reads it back;
told is the cosine between the two vectors. GPTQ calibrates on ${setup.samples} samples of ${setup.length} tokens.

${claimLines(claims(result.runs))}

![One minus the mean cosine over stored bits a weight](encoder_onnx.svg)

${resultTable(result.runs)}

Other speeches are those without the passages and without 100 words on either side of each. The spread is the standard
deviation over the seeds that draw the samples. Round to nearest draws none, so that it has one run.
\`interop/onnxruntime\` measures the same cosines with onnxruntime-node.

Command: \`${commandOf('encoder_onnx')}\`\\
Commit that the page was made at: ${result.commit}. Every row names the commit that it ran at.\\
${machineLines(result)}
`
}

/** Distance over stored bits: a point for each row, its rule from the nearest to the farthest seed. */
export function resultFigure(runs: readonly EncoderRun[]): Spec {
  const points = summarize(runs).map(({ runs, meanCosine: { mean, low, high } }) => ({
    series: nameOf(runs[0]!),
    x: runs[0]!.storedBits,
    y: 1 - mean,
    low: 1 - high,
    high: 1 - low,
  }))
  return lineFigure(points, {
    x: { title: 'stored bits a linear weight' },
    y: { title: '1 - mean cosine to the floats (log)', scale: 'log' },
  })
}

/** Reports for the tests of the page and of the model card. */
import type { CompressionReport, LayerReport } from '../report.ts'

const parts = ['self_attn.q_proj', 'mlp.up_proj', 'mlp.down_proj']

/** A report with every field, small enough to be written in no time. */
export function wholeReport(): CompressionReport {
  const layers: LayerReport[] = Array.from({ length: 6 }, (_, stage) =>
    parts.map((part, i) => ({
      name: `model.layers.${stage}.${part}.weight`,
      bits: 3.25,
      relativeError: 0.001 * (1 + i) * (stage === 2 && i === 1 ? 50 : 1 + 0.01 * stage),
      relativeErrorRtn: 0.01 * (1 + i) * (1 + 0.01 * stage),
      notes: stage === 0 ? ['a note'] : [],
    })),
  ).flat()
  layers.push({ name: 'lm_head.weight', bits: 16, relativeError: 0, relativeErrorRtn: 0, notes: [] })
  return {
    source: 'pypi:model==1.0',
    sourceSha256: 'abc',
    output: '/home/somebody/out',
    method: 'gptq',
    target: 'gguf',
    perplexity: 12.5,
    perplexitySource: 10,
    kl: 0.25,
    klStandardError: 0.01,
    top1: 0.8,
    tokens: 1000,
    protocol: '512/nonoverlap',
    bytes: 50_000_000,
    bytesSource: 100_000_000,
    bitsPerWeight: 3.25,
    fileBitsPerWeight: 4,
    seconds: 61,
    peakMemoryBytes: 500_000_000,
    layers,
    files: ['README.md', 'model.gguf', 'report.html', 'report.json'],
    calibration: { files: ['text.txt'], samples: 4, length: 64, seed: 0, tokens: 256, sha256: 'def' },
    notes: ['a note'],
    version: '0.1.0',
    command: ['pare', 'compress', 'pypi:model==1.0', '--output', '/home/somebody/out'],
    timeline: [
      { phase: 'fetch', start: 0, seconds: 1 },
      { phase: 'compress', stage: 'block.0', start: 1, seconds: 20 },
      { phase: 'compress', stage: 'block.1', start: 21, seconds: 20 },
      { phase: 'evaluate', start: 41, seconds: 20 },
    ],
    memory: [
      { seconds: 0, bytes: 100_000_000 },
      { seconds: 30, bytes: 500_000_000 },
      { seconds: 61, bytes: 300_000_000 },
    ],
    baselines: [
      { name: 'round to nearest', bytes: 50_000_000, bitsPerWeight: 3.25, kl: 0.5, perplexity: 15 },
    ],
    verification: {
      checks: [
        {
          name: 'weights',
          status: 'passed',
          text: '19 weights are as decided',
          faults: [],
          facts: { digests: 19 },
        },
        { name: 'logits', status: 'failed', text: 'far', faults: ['token 3: 0.9'], facts: {} },
      ],
      record: { texts: 1, files: [{ name: 'model.gguf', bytes: 50_000_000, sha256: 'abc' }] },
    },
    samples: [
      { prompt: 'Once', text: ' upon a hill', textSource: ' upon a time', parts: { token: 2, character: 8 } },
      { prompt: 'One', text: ' two', textSource: ' two' },
    ],
    parting: {
      prompt: 'the lamp',
      positions: [
        { token: 'the', kl: 0.1, agrees: true, top: ' sea', topSource: ' sea' },
        { token: ' lamp', kl: 0.9, agrees: false, top: ' was', topSource: ' is' },
      ],
      first: 1,
    },
    speed: {
      ...{ machine: 'a machine; 2 threads', prompt: 128, written: 32, rounds: 3 },
      source: {
        ...{ prefill: 400, decode: 20, least: { prefill: 350, decode: 19.5 } },
        ...{ form: 'decoded to floats', packed: 0, headPacked: false, weightBytes: 4e8, contextBytes: 2048 },
      },
      result: {
        ...{ prefill: 500, decode: 40, least: { prefill: 450, decode: 38 } },
        ...{ form: 'packed int8', packed: 1, headPacked: true, weightBytes: 5e7, contextBytes: 2048 },
      },
    },
  }
}

/** The same value with every string in it, but no key, replaced. */
export function withStrings<T>(value: T, replace: (text: string) => string): T {
  const visit = (each: unknown): unknown => {
    if (typeof each === 'string') return replace(each)
    if (Array.isArray(each)) return each.map(visit)
    if (typeof each !== 'object' || each === null) return each
    return Object.fromEntries(Object.entries(each).map(([key, inner]) => [key, visit(inner)]))
  }
  return visit(value) as T
}

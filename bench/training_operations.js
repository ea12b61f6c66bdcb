/**
 * Multiply rates of the operations that decide a step of training, forward and for each gradient alone:
 *
 *   node bench/training_operations.js llama|resnet [--threads 1] [--repeats 7]
 *
 * The shapes are those of bench/training.js: 8 x 256 tokens of the llama, 128 images of ResNet-20. Prints a table in
 * GFLOP/s, median with least and most; a rate of causal attention counts half of the pairs.
 */
import { parseArgs } from '../.ci/arguments.js'
import {
  attention,
  conv2d,
  instructionSet,
  linear,
  randomStream,
  scope,
  setThreads,
  vjp,
} from '../dist/tensor/index.js'

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: { threads: { type: 'string', default: '1' }, repeats: { type: 'string', default: '7' } },
})
const [what] = positionals
if (what !== 'llama' && what !== 'resnet') throw new Error('name what to take apart: llama or resnet')
setThreads(Number(flags.threads))
const stream = randomStream(0, 'operations')

const product = (name, width, out) => ({
  name: `product ${name}, 2048 × ${width} to ${out}`,
  shapes: [
    [2048, width],
    [out, width],
  ],
  run: ([x, weight]) => linear(x, weight),
  flop: 2 * 2048 * width * out,
  gradients: { 'of the input': [0], 'of the weight': [1] },
})
const convolution = (channels, out, side, stride = 1) => ({
  name: `convolution 3 × 3, ${channels} to ${out} channels, ${side} × ${side}, stride ${stride}`,
  shapes: [
    [128, side, side, channels],
    [out, 3, 3, channels],
  ],
  run: ([x, weight]) => conv2d(x, weight, undefined, { stride, padding: 1 }),
  flop: (2 * 128 * side * side * 9 * channels * out) / stride ** 2,
  gradients: { 'of the input': [0], 'of the weight': [1] },
})
const operations = {
  llama: [
    product('q, k, v, o', 256, 256),
    product('gate, up', 256, 688),
    product('down', 688, 256),
    product('head', 256, 4096),
    {
      name: 'attention, 8 × 8 heads of 32, 256 tokens',
      shapes: Array(3).fill([8, 8, 256, 32]),
      run: ([q, k, v]) => attention(q, k, v, { causal: true, scale: 32 ** -0.5 }),
      flop: (4 * 64 * 256 * 256 * 32) / 2,
      // The gradient computes the scores again: five products where the forward has two.
      share: 2.5,
      gradients: { 'of all inputs': [0, 1, 2] },
    },
  ],
  resnet: [
    convolution(3, 16, 32),
    convolution(16, 16, 32),
    convolution(16, 32, 32, 2),
    convolution(32, 32, 16),
    convolution(64, 64, 8),
  ],
}

const now = () => performance.now()
function rateOf(flop, measure) {
  const rates = Array.from({ length: Number(flags.repeats) + 2 }, () => flop / (measure() * 1e6))
    .slice(2)
    .sort((a, b) => a - b)
  return `${rates[rates.length >> 1].toFixed(0)} (${rates[0].toFixed(0)} to ${rates.at(-1).toFixed(0)})`
}

process.stdout.write(
  `${instructionSet()}, ${flags.threads} threads, GFLOP/s\n\n| operation | forward | gradient |\n| --- | --- | --- |\n`,
)
for (const { name, shapes, run, flop, share = 1, gradients } of operations[what])
  scope(() => {
    const inputs = shapes.map((shape) => stream.normal(shape))
    const forward = rateOf(flop, () =>
      scope(() => {
        const started = now()
        run(inputs)
        return now() - started
      }),
    )
    const back = Object.entries(gradients).map(([of, wanted]) => {
      const rate = rateOf(flop * share, () =>
        scope(() => {
          const { value, pull } = vjp(
            (some) => run(inputs.map((x, i) => (wanted.includes(i) ? some[wanted.indexOf(i)] : x))),
            wanted.map((i) => inputs[i]),
          )
          const cotangent = value.mul(1)
          const started = now()
          pull([[value, cotangent]])
          return now() - started
        }),
      )
      return `${of} ${rate}`
    })
    process.stdout.write(`| ${name} | ${forward} | ${back.join('; ')} |\n`)
  })

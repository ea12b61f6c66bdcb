/**
 * Times steps of training, and the memory that they take, like bench/peers/torch_train_llama.py and torch_train_resnet.py:
 *
 *   node bench/training.js llama|resnet [--threads 2] [--warm-up 5] [--repeats 20] [--batch N] [--context 256]
 *
 * llama: 6 layers of width 256, 8 heads, SwiGLU 688, vocabulary 4096, untied, 8 x 256 tokens, AdamW, f32.
 * resnet: ResNet-20 on 32 x 32 x 3, batches of 128, SGD with momentum 0.9 and decay 1e-4, f32.
 *
 * Prints JSON. `growth` is resident memory from before the first step to the most of the first three.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { parseArgs } from '../.ci/arguments.js'
import { freshWeights as freshClassifier } from '../dist/models/classifiers/fresh_weights.js'
import { resnet } from '../dist/models/classifiers/resnet.js'
import { freshWeights } from '../dist/models/llama/fresh_weights.js'
import { Llama } from '../dist/models/llama/llama.js'
import { memoryWeights } from '../dist/models/memory_weights.js'
import { Parameters } from '../dist/nn/parameters.js'
import { adamW } from '../dist/optim/adam.js'
import { sgd } from '../dist/optim/sgd.js'
import {
  crossEntropy,
  instructionSet,
  randomStream,
  scope,
  setThreads,
  tensor,
} from '../dist/tensor/index.js'
import { languageTask } from '../dist/train/language_task.js'
import { Trainer } from '../dist/train/trainer.js'

const { values: flags, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    threads: { type: 'string', default: '2' },
    'warm-up': { type: 'string', default: '5' },
    repeats: { type: 'string', default: '20' },
    batch: { type: 'string' },
    context: { type: 'string', default: '256' },
  },
})
const [what] = positionals
if (what !== 'llama' && what !== 'resnet') throw new Error('name what to train: llama or resnet')
setThreads(Number(flags.threads))

/** Bytes of this process now (VmRSS), or the most since `resetPeak` (VmHWM). */
const resident = (field) =>
  1024 * Number(new RegExp(`${field}:\\s+(\\d+)`).exec(readFileSync('/proc/self/status', 'utf8'))[1])
const resetPeak = () => writeFileSync('/proc/self/clear_refs', '5')

function llama() {
  const context = Number(flags.context)
  const batch = Number(flags.batch ?? 8)
  const config = {
    architecture: 'llama',
    hidden: 256,
    layers: Array.from({ length: 6 }, () => ({ heads: 8, kvHeads: 8, intermediate: 688 })),
    headSize: 32,
    vocabulary: 4096,
    context,
    normEpsilon: 1e-5,
    rotaryBase: 10_000,
    rotaryScaling: { kind: 'none' },
    tied: false,
    attentionBias: false,
  }
  const parameters = new Parameters()
  scope(() => {
    for (const [name, weight] of freshWeights(config, { seed: 0 })) parameters.add(name, weight)
  })
  const ids = Uint32Array.from({ length: batch }, (_, i) => i)
  const stream = randomStream(0, 'tokens')
  const tokens = Array.from({ length: 2 }, () =>
    tensor(
      scope(() => stream.bits([batch * context]).toArray()).map((word) => word % config.vocabulary),
      [batch, context],
      'u32',
    ),
  )
  const next = () => ({ ids, inputs: tokens[0], labels: tokens[1] })
  const task = languageTask(new Llama(config, memoryWeights(parameters.tensors())).load(), parameters)
  return { task, next, optimiser: adamW({ rate: 1e-3 })(parameters), units: batch * context, unit: 'tokens' }
}

function residual() {
  const batch = Number(flags.batch ?? 128)
  const parameters = new Parameters()
  const net = resnet({ depth: 20, classes: 10 }, freshClassifier(parameters, { seed: 0 }))
  const ids = Uint32Array.from({ length: batch }, (_, i) => i)
  const inputs = randomStream(0, 'images').normal([batch, 32, 32, 3])
  const labels = tensor(
    ids.map((i) => i % 10),
    [batch],
    'u32',
  )
  const task = {
    parameters,
    losses: (data) =>
      crossEntropy(net.forward(data.inputs, { training: true }), data.labels, { reduction: 'none' }),
  }
  const optimiser = sgd({ rate: 0.1, momentum: 0.9, decay: 1e-4 })(parameters)
  return { task, next: () => ({ ids, inputs, labels }), optimiser, units: batch, unit: 'images' }
}

const { task, next, optimiser, units, unit } = what === 'llama' ? llama() : residual()
const loader = { next, epoch: 0, state: () => ({}), load: () => {} }
const trainer = new Trainer({ task, loader, optimiser })
const before = resident('VmRSS')
resetPeak()
for (let i = 0; i < 3; i++) trainer.next()
const growth = resident('VmHWM') - before
for (let i = 3; i < Number(flags['warm-up']); i++) trainer.next()
const seconds = Array.from({ length: Number(flags.repeats) }, () => {
  const started = performance.now()
  trainer.next()
  return (performance.now() - started) / 1000
}).sort((a, b) => a - b)
const median = seconds[Math.floor(seconds.length / 2)]
process.stdout.write(
  `${JSON.stringify({
    what,
    threads: Number(flags.threads),
    instructionSet: instructionSet(),
    medianStepSeconds: median,
    bestStepSeconds: seconds[0],
    [`${unit}PerSecond`]: units / median,
    residentBeforeBytes: before,
    growthToStep3Bytes: growth,
  })}\n`,
)

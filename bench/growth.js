/**
 * How the time of each method for one layer grows with its width, its rows and the tokens of the calibration: seconds of
 * synthetic layers, and the exponent between the two largest. Run it on an idle machine:
 *
 *   node bench/growth.js [--methods gptq,sparsegpt,...] [--largest 2048] [--threads 2]
 *
 * Inputs are normal numbers mixed by a fixed matrix, so that they depend on each other. Each figure is the least of three
 * calls, of one where a call takes over five seconds.
 */
import { cpus } from 'node:os'
import { parseArgs } from '../.ci/arguments.js'
import { GramStatistic, squaresOf } from '../dist/calibrate/statistics.js'
import { affineGrid } from '../dist/nn/grid.js'
import { stepMethod } from '../dist/run/step_methods.js'
import { dispose, instructionSet, matmul, randomStream, scope, setThreads } from '../dist/tensor/index.js'

const { values: flags } = parseArgs({
  options: {
    methods: { type: 'string', default: 'rtn,gptq,wanda,sparsegpt,spqr,baq,quip' },
    largest: { type: 'string', default: '2048' },
    threads: { type: 'string', default: '2' },
  },
})
setThreads(Number(flags.threads))
const largest = Number(flags.largest)
const sizes = [largest / 4, largest / 2, largest]
const usual = { rows: 512, width: 512, tokens: 2048 }
const grid = affineGrid({ bits: 3, groupSize: 64, symmetric: false })

const inputsOf = ({ width, tokens }) =>
  scope(() => {
    const stream = randomStream(0, `inputs ${width}`)
    return matmul(stream.normal([tokens, width], 'f32'), stream.normal([width, width], 'f32')).mul(
      width ** -0.5,
    )
  })

/** The least seconds of up to three calls; what a call gives is freed. */
function least(body) {
  let best = Number.POSITIVE_INFINITY
  for (let call = 0; call < 3 && !(call > 0 && best > 5); call++) {
    const start = performance.now()
    scope(() => void body())
    best = Math.min(best, (performance.now() - start) / 1000)
  }
  return best
}

function gramSeconds(shape) {
  const x = inputsOf(shape)
  const seconds = least(() => {
    const gram = new GramStatistic('w', shape.width)
    gram.add(x)
    gram.dispose()
  })
  x.dispose()
  return seconds
}

function methodSeconds(name, shape) {
  const x = inputsOf(shape)
  const statistic = new GramStatistic('w', shape.width)
  statistic.add(x)
  const gathered = statistic.value()
  const statistics = { ...gathered, squares: squaresOf(gathered.gram) }
  const dense = scope(() =>
    randomStream(1, 'weight')
      .normal([shape.rows, shape.width], 'f32')
      .mul(shape.width ** -0.5),
  )
  const facts = stepMethod(name)
  const task = {
    name: 'w',
    dense,
    current: dense,
    statistics,
    ...(facts.kind === 'quantizer' ? { grid } : {}),
  }
  const method = facts.make({})
  const seconds = least(() => method.compress(task))
  dispose([x, gathered.gram, dense])
  statistic.dispose()
  return seconds
}

const exponent = ([, middle, last]) => Math.log2(last / middle)
const cells = (seconds) =>
  [...seconds.map((each) => each.toFixed(3)), exponent(seconds).toFixed(1)].join(' | ')
const line = (text) => process.stdout.write(`${text}\n`)

line(
  `${cpus()[0].model.trim()}, ${cpus().length} cores, ${instructionSet()}, Node ${process.version.slice(1)}, ${flags.threads} threads; ${usual.rows} rows, ${usual.width} inputs, ${usual.tokens} tokens but for what varies\n`,
)
line(
  `| work | varies | ${sizes.join(' s | ')} s | exponent |\n| --- | --- | ${sizes.map(() => '---').join(' | ')} | --- |`,
)
for (const varies of ['width', 'tokens'])
  line(
    `| Gram matrix | ${varies} | ${cells(sizes.map((size) => gramSeconds({ ...usual, [varies]: size })))} |`,
  )
for (const name of flags.methods.split(','))
  for (const varies of ['width', 'rows'])
    line(
      `| ${name} | ${varies} | ${cells(sizes.map((size) => methodSeconds(name, { ...usual, [varies]: size })))} |`,
    )

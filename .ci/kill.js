/**
 * Kills runs of `pare compress` and starts them again: every one must end with the bytes of a run that was left alone.
 *
 *   node .ci/kill.js [--tiny 10] [--real 3] [--model MODEL.gguf] [--seed 0]
 *
 * Half of the kills come at a random time, half at a random step of the disk: before or after a write, a flush or a
 * rename, or in the middle of a write. `tiny` runs compress a random model of two blocks, `real` ones MODEL with 16
 * samples of 256 tokens; without MODEL they are left out, which is said. Prints `N passed, N failed`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from './arguments.js'
import { compress, hashOf, tinyArguments } from './compress_trial.js'
import { dyingAt, randomSeries } from './pare_process.js'

const { values: flags } = parseArgs({
  options: {
    tiny: { type: 'string', default: '10' },
    real: { type: 'string', default: '3' },
    model: { type: 'string' },
    seed: { type: 'string', default: '0' },
  },
})
const work = mkdtempSync(join(tmpdir(), 'pare-kill-'))
const counted = join(work, 'steps')
const random = randomSeries(Number(flags.seed))

let [passed, failed] = [0, 0]
async function series(title, count, args) {
  if (count === 0) return
  // The model card holds the command, and that the name of the output.
  const output = join(work, title)
  const first = await compress(args, output)
  if (first.code !== 0) throw new Error(`${title}: the run that is left alone failed\n${first.stderr}`)
  const expected = hashOf(output)
  await compress(args, join(work, `${title}-counted`), dyingAt(-1, counted))
  const steps = Number(readFileSync(counted, 'utf8'))
  if (!(steps > 10)) throw new Error(`${title}: the steps of the disk were not counted`)
  rmSync(output, { recursive: true })
  let killed = 0
  for (let i = 0; i < count; i++) {
    const at =
      i % 2 === 0 ? { killAt: Math.floor(random() * steps) } : { killAfter: random() * first.milliseconds }
    const stopped = await compress(args, output, 'killAt' in at ? dyingAt(at.killAt, counted) : at)
    if (stopped.signal === 'SIGKILL') killed++
    const rest = existsSync(join(output, '.pare'))
    const again = await compress(args, output)
    const same = again.code === 0 && hashOf(output) === expected && !existsSync(join(output, '.pare'))
    if (same) passed++
    else {
      failed++
      process.stdout.write(`FAILED  ${title} ${JSON.stringify(at)}: exit ${again.code}\n${again.stderr}\n`)
    }
    process.stderr.write(
      `${title} ${i + 1}/${count}  ${JSON.stringify(at)}  ${stopped.signal ?? 'ended before'}${rest ? ', went on' : ''}\n`,
    )
    rmSync(output, { recursive: true, force: true })
  }
  process.stdout.write(`${title}: ${killed} of ${count} runs were killed before they ended\n`)
}

try {
  await series('tiny', Number(flags.tiny), tinyArguments(work, random))
  if (flags.model) {
    const size = '--bits 3 --samples 16 --length 256 --windows 2 --context 256 --no-speed'.split(' ')
    await series('real', Number(flags.real), [flags.model, ...size])
  } else process.stdout.write('real: left out, since no --model was given\n')
} finally {
  rmSync(work, { recursive: true, force: true })
}
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1

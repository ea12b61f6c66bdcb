/**
 * Kills runs of `pare train` and starts them again: every one must end with the bytes of a run that was left alone.
 *
 *   node .ci/kill_training.js [--count 10] [--seed 0]
 *
 * A language model with averages and a residual network that is pruned by RigL, `count` runs of each. Half of the kills
 * come at a random time, half at a random step of the disk; a run is killed up to three times before it may end, and each
 * sitting has another number of threads. First both run alone with 1, 2 and 3 threads. Prints `N passed, N failed`.
 */
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from './arguments.js'
import { dyingAt, randomSeries } from './pare_process.js'
import { classifierRecipe, hashOf, languageRecipe, train } from './training_trial.js'

const { values: flags } = parseArgs({
  options: { count: { type: 'string', default: '10' }, seed: { type: 'string', default: '0' } },
})
const work = mkdtempSync(join(tmpdir(), 'pare-kill-training-'))
const counted = join(work, 'steps')
const random = randomSeries(Number(flags.seed))
const threadsOf = (sitting) => 1 + (sitting % 3)

let [passed, failed] = [0, 0]
function record(title, isGood, why) {
  if (isGood) passed++
  else {
    failed++
    process.stdout.write(`FAILED  ${title}: ${why}\n`)
  }
}

async function series(title, recipe, count) {
  const output = join(work, title)
  const first = await train(recipe, output, { threads: 1 })
  if (first.code !== 0) throw new Error(`${title}: the run that is left alone failed\n${first.stderr}`)
  const expected = hashOf(output)
  for (const threads of [2, 3]) {
    const other = join(work, `${title}-${threads}`)
    const { code, stderr } = await train(recipe, other, { threads })
    record(
      `${title} with ${threads} threads`,
      code === 0 && hashOf(other) === expected,
      `exit ${code}\n${stderr}`,
    )
  }
  await train(recipe, join(work, `${title}-counted`), dyingAt(-1, counted))
  const steps = Number(readFileSync(counted, 'utf8'))
  if (!(steps > 10)) throw new Error(`${title}: the steps of the disk were not counted`)
  let kills = 0
  for (let i = 0; i < count; i++) {
    rmSync(output, { recursive: true, force: true })
    const places = []
    let sitting = i
    for (let left = 1 + Math.floor(random() * 3); left > 0; left--) {
      const atStep = random() < 0.5
      const [at, options] = atStep
        ? [Math.floor(random() * steps), (at) => dyingAt(at, counted)]
        : [Math.floor(random() * first.milliseconds), (killAfter) => ({ killAfter })]
      const { signal } = await train(recipe, output, { threads: threadsOf(sitting++), ...options(at) })
      if (signal === 'SIGKILL') kills++
      places.push(`${atStep ? 'step' : 'ms'} ${at}${signal ? '' : ' (ended before)'}`)
    }
    const { code, stderr } = await train(recipe, output, { threads: threadsOf(sitting) })
    const isSame = code === 0 && hashOf(output) === expected && !existsSync(join(output, '.pare'))
    record(`${title} killed at ${places.join(', ')}`, isSame, `exit ${code}\n${stderr}`)
    process.stderr.write(`${title} ${i + 1}/${count}  ${places.join(', ')}\n`)
  }
  process.stdout.write(`${title}: ${count} runs, killed ${kills} times before they ended\n`)
}

try {
  const count = Number(flags.count)
  await series('language', languageRecipe(work, random), count)
  await series('classifier', classifierRecipe(work, random), count)
} finally {
  rmSync(work, { recursive: true, force: true })
}
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1

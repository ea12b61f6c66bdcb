/**
 * Runs of `pare compress` and `pare train` on a disk that is too small, and again when there is room: they must end in the
 * error for a full disk (exit code 5), and then with the bytes of a run that always had room.
 *
 *   node .ci/full_disk.js [--count 3] [--model MODEL.gguf] [--seed 0]
 *
 * The disk is a tmpfs, of a size drawn at random between nothing and what the result needs; a training needs more for its
 * checkpoints. Without MODEL a random model of two blocks is compressed. Where this user may not mount one, that is said. Prints `N passed, N failed`.
 */
import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from './arguments.js'
import { compress, hashOf, tinyArguments } from './compress_trial.js'
import { randomSeries } from './pare_process.js'
import { classifierRecipe, hashOf as hashOfTraining, languageRecipe, train } from './training_trial.js'

const { values: flags } = parseArgs({
  options: {
    count: { type: 'string', default: '3' },
    model: { type: 'string' },
    seed: { type: 'string', default: '0' },
  },
})
const work = mkdtempSync(join(tmpdir(), 'pare-full-'))
const disk = join(work, 'disk')
const random = randomSeries(Number(flags.seed))
const mount = (options) =>
  spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'tmpfs', disk], { encoding: 'utf8' })

/** Bytes of the files in a folder, each in whole pages as a tmpfs holds them. */
const sizeOf = (folder) =>
  readdirSync(folder, { recursive: true })
    .map((name) => statSync(join(folder, name)))
    .reduce((sum, file) => sum + (file.isFile() ? Math.ceil(file.size / 4096) * 4096 : 4096), 0)

let [passed, failed] = [0, 0]

/** Runs of one command, each on a smaller disk and then on one with room. */
async function series(title, run, hashOf) {
  const output = join(disk, title)
  const whole = await run(output)
  if (whole.code !== 0) throw new Error(`${title}: the run with room failed\n${whole.stderr}`)
  const [expected, needed] = [hashOf(output), sizeOf(output)]
  for (let i = 0; i < Number(flags.count); i++) {
    rmSync(output, { recursive: true })
    const bytes = Math.max(4096, Math.floor((needed * random()) / 4096) * 4096)
    mount(`remount,size=${bytes}`)
    const stopped = await run(output)
    mount('remount,size=1g')
    const again = await run(output)
    const told = stopped.code === 5 && /no space|disk/i.test(stopped.stderr)
    if (told && again.code === 0 && hashOf(output) === expected) passed++
    else {
      failed++
      process.stdout.write(
        `FAILED  ${title}, ${bytes} of ${needed} bytes: exit ${stopped.code}, then ${again.code}\n${stopped.stderr}\n${again.stderr}\n`,
      )
    }
    process.stderr.write(`${title} ${i + 1}/${flags.count}  ${bytes} of ${needed} bytes\n`)
  }
  rmSync(output, { recursive: true })
}

try {
  mkdirSync(disk)
  const first = mount('size=1g')
  if (first.status !== 0) {
    process.stdout.write(`full disk: left out, since no tmpfs can be mounted (${first.stderr.trim()})\n`)
  } else {
    const size = '--bits 3 --samples 16 --length 256 --windows 2 --context 256 --no-speed'.split(' ')
    const args = flags.model ? [flags.model, ...size] : tinyArguments(work, random)
    await series('compress', (output) => compress(args, output), hashOf)
    for (const [title, recipe] of [
      ['language', languageRecipe(work, random)],
      ['classifier', classifierRecipe(work, random)],
    ])
      await series(title, (output) => train(recipe, output), hashOfTraining)
  }
} finally {
  spawnSync('umount', [disk])
  rmSync(work, { recursive: true, force: true })
}
process.stdout.write(`${passed} passed, ${failed} failed\n`)
process.exitCode = failed === 0 ? 0 : 1

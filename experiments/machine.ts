/** What a result must say of how it was made: commit, machine, and the sources it depends on. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { version } from 'pare'

export { describeMachine, type Machine, machineLine } from '#src/run/machine_line.ts'

/** The commit of a working tree, with `+changes` where files differ from it; `unknown` where git is not there. */
export function currentCommit(root: string): string {
  const git = (...args: string[]) => spawnSync('git', ['-C', root, ...args], { encoding: 'utf8' })
  const { status, stdout } = git('rev-parse', '--short=12', 'HEAD')
  if (status !== 0) return 'unknown'
  const changed =
    git('status', '--porcelain', '--untracked-files=no', '--', 'src', 'native').stdout.trim() !== ''
  return `${stdout.trim()}${changed ? '+changes' : ''}`
}

/** SHA-256 over the contents of some files, in the order given; the version of an installation, which has no sources. */
export function hashOf(root: string, files: readonly string[]): string {
  if (!existsSync(join(root, 'src/index.ts'))) return `pare ${version}`
  const hash = createHash('sha256')
  for (const file of files) {
    const bytes = readFileSync(join(root, file))
    // The tests at the end of a Rust source decide nothing.
    const code = file.endsWith('.rs')
      ? (bytes.toString('utf8').split('\n#[cfg(test)]\n')[0] as string)
      : bytes
    hash.update(`${file}\0`).update(code)
  }
  return hash.digest('hex')
}

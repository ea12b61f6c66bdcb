/** What a result must say of how it was made: commit, machine, and the sources it depends on. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { version } from 'pare'

export interface Machine {
  /** Name of the processor as the system gives it. */
  cpu: string
  cores: number
  /** Whole gibibytes. */
  memoryGiB: number
  /** What the kernels ran with: `portable`, `avx2` or `avx512`. */
  instructionSet: string
  node: string
  system: string
}

/** @param instructionSet what the native core picked. */
export function describeMachine(instructionSet: string): Machine {
  const processors = cpus()
  return {
    cpu: processors[0]?.model.trim() ?? 'unknown',
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    instructionSet,
    node: process.versions.node,
    system: `${process.platform}-${process.arch}`,
  }
}

/** One line: the fingerprint that stands beside every measured time. */
export const machineLine = ({ cpu, cores, memoryGiB, instructionSet, node, system }: Machine): string =>
  `${cpu}, ${cores} cores, ${memoryGiB} GiB, ${instructionSet}, Node ${node}, ${system}`

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
    // The tests at the end of a Rust source decide nothing.
    const [code] = readFileSync(join(root, file), 'utf8').split('\n#[cfg(test)]\n') as [string]
    hash.update(`${file}\0`).update(code)
  }
  return hash.digest('hex')
}

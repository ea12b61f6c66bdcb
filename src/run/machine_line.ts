/** The machine that something was measured on. */
import { cpus, totalmem } from 'node:os'

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

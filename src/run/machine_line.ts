/** The line that stands beside every measured time. */
import { cpus, totalmem } from 'node:os'
import { instructionSet, threads } from '../tensor/index.ts'

/** `PROCESSOR, N cores, N GiB, INSTRUCTION SET, Node VERSION, SYSTEM; N threads` */
export function machineLine(): string {
  const processors = cpus()
  const name = processors[0]?.model.trim() || 'unknown processor'
  const memory = Math.round(totalmem() / 2 ** 30)
  const system = `${process.platform}-${process.arch}`
  return `${name}, ${processors.length} cores, ${memory} GiB, ${instructionSet()}, Node ${process.versions.node}, ${system}; ${threads()} threads`
}

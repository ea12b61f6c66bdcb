import { expect, test } from 'vitest'
import { describeMachine, machineLine } from './machine_line.ts'

test('the line names processor, cores, memory, instruction set, Node and system', () => {
  const machine = {
    cpu: 'P',
    cores: 2,
    memoryGiB: 24,
    instructionSet: 'avx2',
    node: '20.19.0',
    system: 'linux-x64',
  }
  expect(machineLine(machine)).toBe('P, 2 cores, 24 GiB, avx2, Node 20.19.0, linux-x64')
  expect(describeMachine('portable')).toMatchObject({
    instructionSet: 'portable',
    node: process.versions.node,
    system: `${process.platform}-${process.arch}`,
  })
})

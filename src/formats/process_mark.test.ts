import { spawnSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { markPattern, ownerOf, processMark } from './process_mark.ts'

/** The mark with the id of another process. */
const withPid = (pid: number) => processMark().replace(/-\d+-/, `-${pid}-`)

test('marks fit their pattern and are never the same', () => {
  const marks = Array.from({ length: 100 }, processMark)
  for (const mark of marks) expect(mark).toMatch(new RegExp(`^${markPattern}$`))
  expect(new Set(marks).size).toBe(100)
})
test('a mark is of this process, of its living parent, or of a child that has ended', () => {
  const { pid } = spawnSync(process.execPath, ['--version'])
  expect([process.pid, process.ppid, pid].map((id) => ownerOf(withPid(id)))).toEqual([
    'this',
    'running',
    'ended',
  ])
})
test('a process id says nothing on another machine', () => {
  const [machine] = processMark().split('-')
  const other = processMark().replace(machine!, machine === '00000000' ? '11111111' : '00000000')
  expect(ownerOf(other)).toBe('elsewhere')
})

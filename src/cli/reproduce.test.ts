/** `pare reproduce` as a process: the list, and what is missing. */
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { jsonError, pare, temporaryFolder } from './pare_process.suite.ts'

const folder = temporaryFolder()

test('--list names the experiments with what they read', () => {
  const { code, stdout } = pare(['reproduce', '--list', '--json'])
  expect(code).toBe(0)
  const names = (JSON.parse(stdout) as { name: string; title: string; assets: string[] }[]).map(
    ({ name }) => name,
  )
  expect(names).toEqual(expect.arrayContaining(['gptq', 'gmp', 'jaxpruner']))
  expect(pare(['reproduce', '--list']).stdout).toMatch(/^jaxpruner +Eleven ways/m)
})
test('without assets it says which ones and how to get them, and measures nothing', () => {
  const outcome = pare(['reproduce', 'jaxpruner', '--quick', '--json'], { env: { PARE_ASSETS: '' } })
  expect([outcome.code, outcome.stdout]).toEqual([6, ''])
  expect(jsonError(outcome)).toMatchObject({ code: 'PARE_E_ASSET', facts: { groups: ['images-sklearn'] } })
})
test('without a run there is nothing to write', () => {
  const outcome = pare(['reproduce', 'gmp', '--write', '--output', join(folder, 'results'), '--json'], {
    env: { PARE_ASSETS: folder },
  })
  expect(outcome.code).toBe(2)
  expect(jsonError(outcome).message).toMatch(/no run is done yet/)
})

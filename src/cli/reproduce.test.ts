/** `pare reproduce` as a process: the list, and what is missing. */
import { mkdirSync, writeFileSync } from 'node:fs'
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
test('a folder of assets that is not there, and an output that is no folder or cannot be made, are refused at once', () => {
  const missing = pare(['reproduce', 'gptq', '--quick', '--assets', join(folder, 'none'), '--json'])
  expect([missing.code, missing.stdout]).toEqual([6, ''])
  expect(jsonError(missing)).toMatchObject({ code: 'PARE_E_ASSET' })
  expect(jsonError(missing).message).toMatch(/reads smollm2.*none lacks them; fill one with/)
  const file = join(folder, 'file')
  writeFileSync(file, '')
  mkdirSync(join(folder, '.sums'))
  writeFileSync(join(folder, '.sums', 'images-sklearn'), '')
  const args = ['reproduce', 'gmp', '--quick', '--assets', folder, '--json', '--output']
  const taken = pare([...args, file])
  expect([taken.code, jsonError(taken).code]).toEqual([2, 'PARE_E_OUTPUT'])
  const below = pare([...args, join(file, 'below')])
  expect([below.code, jsonError(below).code]).toEqual([6, 'PARE_E_CANNOT_WRITE'])
})
test('without a run there is nothing to write', () => {
  const outcome = pare(['reproduce', 'gmp', '--write', '--output', join(folder, 'results'), '--json'], {
    env: { PARE_ASSETS: folder },
  })
  expect(outcome.code).toBe(2)
  expect(jsonError(outcome).message).toMatch(/no run is done yet/)
})

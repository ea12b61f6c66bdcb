import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { AbortError, QualityError } from '../../tensor/errors.ts'
import { compress } from '../compress.ts'
import { plan } from '../plan.ts'
import type { OnProgress } from '../progress.ts'
import { smallRun, writeText } from '../small_run.suite.ts'

let folder: string
let text: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pare-verify-run-'))
  text = writeText(join(folder, 'text.txt'))
})
afterAll(() => rmSync(folder, { recursive: true }))
let count = 0
const newRun = () => smallRun(text, join(folder, `out-${count++}`))

/** Flips a bit of the weights when they are whole and not looked at yet. */
const damaging =
  (output: string): OnProgress =>
  (event) => {
    if (event.kind !== 'progress' || event.text !== 'the files of the result') return
    const file = join(output, '.pare', 'result', 'model.safetensors')
    const bytes = readFileSync(file)
    const header = Number(bytes.readBigUInt64LE(0))
    const { data_offsets: offsets } = JSON.parse(bytes.toString('utf8', 8, 8 + header))[
      'model.layers.1.mlp.up_proj.weight.codes'
    ]
    bytes[8 + header + offsets[0]]! ^= 2
    writeFileSync(file, bytes)
  }

test('a result that is not what was computed is not published, and its journal goes on', async () => {
  const run = newRun()
  const error = await compress(run, { progress: damaging(run.output) }).catch((thrown) => thrown)
  expect(error).toBeInstanceOf(QualityError)
  expect([error.code, error.exitCode]).toEqual(['PARE_E_VERIFY', 4])
  expect(error.message).toMatch(
    /weights: model\.layers\.1\.mlp\.up_proj\.weight: holds other values .*--no-verify/,
  )
  expect(readdirSync(run.output)).toEqual(['.pare'])
  const journal = join(run.output, '.pare', 'journal.jsonl')
  const stages = () =>
    readFileSync(journal, 'utf8')
      .split('\n')
      .filter((line) => line.startsWith('{"kind":"stage"'))
  expect(stages()).toHaveLength(2)
  expect(stages()[0]).toMatch(/"values":\{"sha256":"[0-9a-f]{64}"/)
  // The files are as they were left: the same command finds it again, and computes nothing.
  await expect(compress(run)).rejects.toMatchObject({ code: 'PARE_E_VERIFY' })
  expect(stages()).toHaveLength(2)
  const report = await compress({ ...run, restart: true })
  const { checks } = report.verification!
  // Three bits have no bound of logits.
  expect(checks.map(({ status }) => status)).toEqual(['passed', 'passed', 'unbounded', 'passed', 'passed'])
  expect(checks[2]!.text).toMatch(/no bound holds at so few bits \(3\)$/)
  expect(existsSync(journal)).toBe(false)
})
test('a result that cannot be opened is not published either', async () => {
  const run = newRun()
  const cut: OnProgress = (event) => {
    if (event.kind === 'progress' && event.text === 'the files of the result')
      writeFileSync(join(run.output, '.pare', 'result', 'model.safetensors'), 'short')
  }
  await expect(compress(run, { progress: cut })).rejects.toMatchObject({ code: 'PARE_E_VERIFY', exitCode: 4 })
  expect(existsSync(join(run.output, 'config.json'))).toBe(false)
})
test('without verification the same damage is published, and the report has no record', async () => {
  const run = newRun()
  await expect(compress(run, { progress: damaging(run.output) })).rejects.toMatchObject({
    code: 'PARE_E_VERIFY',
  })
  const report = await compress({ ...run, verify: false })
  expect(report.verification).toBeUndefined()
  expect(existsSync(join(run.output, 'config.json'))).toBe(true)
})
test('a run that goes on compares what its first sitting computed', async () => {
  const run = newRun()
  const stop = new AbortController()
  const progress: OnProgress = (event) => {
    if (event.kind === 'progress' && event.phase === 'compress' && event.text === 'block.1') stop.abort()
  }
  await expect(compress(run, { progress, signal: stop.signal })).rejects.toBeInstanceOf(AbortError)
  const { verification, layers } = await compress(run)
  const { facts } = verification!.checks.find(({ name }) => name === 'weights')!
  expect([facts.digests, facts.same]).toEqual([layers.length, layers.length])
})
test('the plan holds what verification takes, and nothing where it is switched off', async () => {
  const phases = async (verify: boolean) =>
    (await plan({ ...newRun(), verify })).memory.map(({ phase }) => phase)
  expect(await phases(true)).toContain('verify')
  expect(await phases(false)).not.toContain('verify')
})

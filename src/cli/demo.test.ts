/** `pare demo`: what it prints and writes, and what it refuses. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { beforeAll, expect, test } from 'vitest'
import { jsonError, pare, temporaryFolder } from './pare_process.suite.ts'
import { writeTinyFolder } from './tiny_model.suite.ts'

const folder = temporaryFolder()
const tiny = join(folder, 'tiny')
beforeAll(() => writeTinyFolder(tiny, { hidden: 256 }))

test('the table holds source, rounding and GPTQ, and the page and the model lie where it says', () => {
  const { code, stdout, stderr } = pare(['demo', '--model', tiny], { cwd: folder })
  expect(code, stderr).toBe(0)
  const lines = stdout.split('\n')
  expect(lines[0]).toMatch(/size +bits a weight +perplexity +KL$/)
  expect(lines[1]).toMatch(/^source +\d+\.\d [kM]?B +\d+\.\d\d$/)
  for (const [index, name] of ['round to nearest', 'GPTQ'].entries())
    expect(lines[2 + index]).toMatch(
      new RegExp(`^${name} +\\d+\\.\\d [kM]B +3\\.44 +\\d+\\.\\d\\d +\\d\\.\\d{4}$`),
    )
  for (const line of [
    'page   pare-demo/report.html',
    'pare-demo/tiny-Q3_K.gguf, which',
    'pare inspect pare-demo/tiny-Q3_K.gguf',
  ])
    expect(stdout).toContain(line)
  expect(readFileSync(join(folder, 'pare-demo', 'report.html'), 'utf8')).toContain('tiny')
  const again = pare(['demo', '--model', tiny, '--json'], { cwd: folder })
  expect(again.stderr).toContain('finished; --restart does it again')
  expect(JSON.parse(again.stdout)).toEqual(
    JSON.parse(readFileSync(join(folder, 'pare-demo', 'report.json'), 'utf8')),
  )
})

test('a folder that holds something else is refused and stays as it is', () => {
  const output = join(folder, 'mine')
  mkdirSync(output)
  writeFileSync(join(output, 'thesis.txt'), 'mine')
  const outcome = pare(['demo', '--model', tiny, '--output', output, '--json'])
  expect([outcome.code, outcome.stdout]).toEqual([2, ''])
  expect(jsonError(outcome).message).toMatch(/holds 1 file; name another folder or give --overwrite/)
  expect(readdirSync(output)).toEqual(['thesis.txt'])
})

test('the model that comes with Pare is compressed in any folder, and GPTQ is nearer to it than rounding', () => {
  const empty = join(folder, 'empty')
  mkdirSync(empty)
  // No registry and no hub: a look at the network would fail.
  const env = { HF_ENDPOINT: 'http://127.0.0.1:9', npm_config_registry: 'http://127.0.0.1:9' }
  const { code, stdout, stderr } = pare(['demo', '--json'], { cwd: empty, env })
  expect(code, stderr).toBe(0)
  const { kl, baselines, bytes, bytesSource, files } = JSON.parse(stdout)
  expect(kl).toBeLessThan(0.9 * baselines[0].kl)
  expect(bytes).toBeLessThan(bytesSource / 3)
  expect(readdirSync(empty)).toEqual(['pare-demo'])
  expect(readdirSync(join(empty, 'pare-demo')).sort()).toEqual(files.toSorted())
})

import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openSafetensors } from '../../formats/safetensors/safetensors.ts'
import { type FixtureName, fixturePath } from '../../models/llama/fixtures.suite.ts'
import { openModel } from '../../models/load_model.ts'
import { FormatError, PareError } from '../../tensor/errors.ts'
import { compress } from '../compress.ts'
import type { CompressOptions } from '../compress_options.ts'
import type { CompressionReport } from '../report.ts'
import { smallRun, writeText } from '../small_run.suite.ts'
import type { Check, CheckName, Verification } from './verification.ts'
import { verify } from './verify.ts'
import { verificationLines, verifyResult } from './verify_result.ts'

const folder = mkdtempSync(join(tmpdir(), 'pare-verify-'))
afterAll(() => rmSync(folder, { recursive: true }))
const source = fixturePath('llama-f16.gguf')
const outputs = { pare: join(folder, 'pare'), gptq: join(folder, 'gptq'), gguf: join(folder, 'gguf') }
const reports = new Map<string, CompressionReport>()
beforeAll(async () => {
  const text = writeText(join(folder, 'text.txt'))
  const { bits: _, groupSize: __, ...run } = smallRun(text, '')
  const options: Record<keyof typeof outputs, Partial<CompressOptions>> = {
    pare: { target: 'pare', bits: 4, groupSize: 16 },
    // The rows of k and v are too few for its words.
    gptq: { target: 'gptq', bits: 8, groupSize: 16, overrides: [{ match: 're:[kv]_proj', keep: true }] },
    gguf: { target: 'gguf', scheme: 'Q4_0' },
  }
  for (const [name, output] of Object.entries(outputs))
    reports.set(name, await compress({ ...run, output, ...options[name as keyof typeof outputs] }))
})

const statuses = ({ checks }: { checks: readonly Check[] }) =>
  Object.fromEntries(checks.map(({ name, status }) => [name, status]))
const failedOf = (found: Verification): CheckName[] =>
  found.checks.filter(({ status }) => status === 'failed').map(({ name }) => name)
const faultsOf = ({ checks }: Verification, name: CheckName) =>
  checks.find((check) => check.name === name)!.faults.join('\n')

let copies = 0
/** A result with something changed in it. */
function damaged(of: keyof typeof outputs, change: (path: string) => void): string {
  const path = join(folder, `copy-${copies++}`)
  cpSync(outputs[of], path, { recursive: true })
  change(path)
  return path
}
/** Changes the bytes of one tensor in the weights of a folder. */
const changeTensor =
  (name: string, change: (bytes: Buffer, shape: readonly number[]) => void) => (path: string) => {
    const file = join(path, 'model.safetensors')
    const archive = openSafetensors(file)
    const bytes = Buffer.from(archive.read(name))
    const { shape } = archive.tensors.get(name)!
    archive.close()
    const whole = readFileSync(file)
    const header = Number(whole.readBigUInt64LE(0))
    const [start] = JSON.parse(whole.toString('utf8', 8, 8 + header))[name].data_offsets
    change(bytes, shape)
    bytes.copy(whole, 8 + header + start)
    writeFileSync(file, whole)
  }
const q = 'model.layers.0.self_attn.q_proj'
const flip = (at: number, bits: number) => (bytes: Buffer) => {
  bytes[at]! ^= bits
}
const swapRows = (bytes: Buffer, [rows]: readonly number[]) => {
  const size = bytes.length / rows!
  const first = Buffer.from(bytes.subarray(0, size))
  bytes.copyWithin(0, 3 * size, 4 * size)
  first.copy(bytes, 3 * size)
}
const edit = (name: string, change: (text: string) => string) => (path: string) => {
  const file = join(path, name)
  writeFileSync(file, change(readFileSync(file, 'utf8')))
}

describe('a good result', () => {
  test.each(['pare', 'gptq', 'gguf'] as const)(
    'of the target %s passes, and its report says so',
    (target) => {
      const { verification, layers, timeline } = reports.get(target)!
      expect(statuses(verification!)).toEqual({
        weights: 'passed',
        configuration: 'passed',
        logits: 'passed',
        tokens: 'passed',
        template: 'passed',
      })
      const { facts } = verification!.checks.find(({ name }) => name === 'weights')!
      expect([facts.digests, facts.same]).toEqual([layers.length, layers.length])
      expect(verification!.record.files.map(({ name }) => name)).toEqual(
        expect.arrayContaining([target === 'gguf' ? expect.stringMatching(/\.gguf$/) : 'model.safetensors']),
      )
      expect(timeline!.filter(({ phase }) => phase === 'verify').length).toBeGreaterThan(0)
    },
  )
  test.each(['pare', 'gptq', 'gguf'] as const)(
    'of the target %s passes again, with its source and without',
    async (target) => {
      const alone = await verify({ path: outputs[target] })
      expect(alone.passed, verificationLines(alone).join('\n')).toBe(true)
      expect(statuses(alone)).toEqual({
        files: 'passed',
        weights: 'passed',
        logits: 'passed',
        tokens: 'passed',
        template: 'passed',
      })
      const beside = await verify({ path: outputs[target], source })
      expect(beside.passed, verificationLines(beside).join('\n')).toBe(true)
      expect(beside.record.logits).toEqual(alone.record.logits)
    },
  )
  test('without a report and without a source is only read', async () => {
    const path = damaged('pare', (copy) => rmSync(join(copy, 'report.json')))
    const found = await verify({ path })
    expect(statuses(found)).toEqual({
      weights: 'passed',
      logits: 'skipped',
      tokens: 'skipped',
      template: 'skipped',
    })
    expect(verificationLines(found).join('\n')).toMatch(/give --source/)
  })
})

describe('damage fails the check that is for it', () => {
  const weightDamages: [
    string,
    keyof typeof outputs,
    string,
    (bytes: Buffer, shape: readonly number[]) => void,
  ][] = [
    ['two rows of codes exchanged', 'pare', `${q}.weight.codes`, swapRows],
    ['a zero that is one more', 'pare', `${q}.weight.zeros`, flip(0, 1)],
    ['a scale that is twice as large', 'pare', `${q}.weight.scales`, flip(1, 4)],
    [
      'two columns of GPTQ words exchanged',
      'gptq',
      `${q}.qweight`,
      (bytes) => {
        const [a, b] = [bytes.readUInt32LE(0), bytes.readUInt32LE(4)]
        bytes.writeUInt32LE(b, 0)
        bytes.writeUInt32LE(a, 4)
      },
    ],
    ['a GPTQ zero that is one more', 'gptq', `${q}.qzeros`, flip(0, 1)],
  ]
  test.each(weightDamages)('%s: weights, with the name of the layer', async (_, target, tensor, change) => {
    const path = damaged(target, changeTensor(tensor, change))
    const alone = await verify({ path })
    expect(failedOf(alone)).toEqual(expect.arrayContaining(['files', 'weights']))
    expect(faultsOf(alone, 'weights')).toContain(`${q}.weight: holds other values than were computed`)
    // The digests of the report count beside a source too.
    expect(failedOf(await verify({ path, source }))).toContain('weights')
  })
  test('a block of a GGUF file', async () => {
    const path = damaged('gguf', (copy) => {
      const file = join(copy, reports.get('gguf')!.files.find((name) => name.endsWith('.gguf'))!)
      const open = openModel(file) as ReturnType<typeof openModel> & {
        gguf: { tensors: Map<string, { offset: number }> }
      }
      const bytes = Buffer.from(open.weights.raw!(`${q}.weight`))
      open.close()
      const whole = readFileSync(file)
      whole[whole.indexOf(bytes) + 5]! ^= 1
      writeFileSync(file, whole)
    })
    const found = await verify({ path })
    expect(faultsOf(found, 'weights')).toContain(`${q}.weight: holds other values`)
  })
  test('an embedding with one number changed: files, and with the source weights', async () => {
    const path = damaged('pare', changeTensor('model.embed_tokens.weight', flip(1, 0x40)))
    expect(failedOf(await verify({ path }))).toContain('files')
    const beside = await verify({ path, source })
    expect(faultsOf(beside, 'weights')).toMatch(/model\.embed_tokens\.weight: is .* from the source/)
  })
  test('two words of the tokenizer exchanged: tokens', async () => {
    const path = damaged('pare', edit('tokenizer.json', swapTwoTokens))
    expect(failedOf(await verify({ path }))).toEqual(expect.arrayContaining(['files', 'tokens']))
    const beside = await verify({ path, source })
    expect(failedOf(beside)).toContain('tokens')
    expect(faultsOf(beside, 'tokens')).toMatch(/^token \d+ is \d+, of the source \d+$/)
  })
  test('a template that neither source nor report knows: template', async () => {
    const path = damaged('pare', (copy) =>
      writeFileSync(
        join(copy, 'chat_template.jinja'),
        '{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}',
      ),
    )
    expect(failedOf(await verify({ path }))).toEqual(['template'])
    expect(failedOf(await verify({ path, source }))).toEqual(['template'])
  })
  test('another base of the positions: logits, and with the source the configuration', async () => {
    const path = damaged(
      'pare',
      edit('config.json', (text) => JSON.stringify({ ...JSON.parse(text), rope_theta: 500 })),
    )
    expect(failedOf(await verify({ path }))).toEqual(expect.arrayContaining(['files', 'logits']))
    const beside = await verify({ path, source })
    expect(failedOf(beside)).toContain('configuration')
    expect(faultsOf(beside, 'configuration')).toMatch(/^angle 1 of the positions/)
  })
  test('a file that is missing or longer: files', async () => {
    const missing = await verify({ path: damaged('pare', (copy) => rmSync(join(copy, 'README.md'))) })
    expect(failedOf(missing)).toEqual(['files'])
    expect(faultsOf(missing, 'files')).toBe('README.md: is missing')
    const longer = await verify({
      path: damaged(
        'pare',
        edit('generation_config.json', (text) => `${text} `),
      ),
    })
    expect(failedOf(longer)).toEqual(['files'])
    expect(faultsOf(longer, 'files')).toMatch(/^generation_config\.json: has \d+ bytes, the report says \d+$/)
  })
  test('weights that are cut or gone cannot be read', async () => {
    for (const change of [
      (copy: string) => truncateSync(join(copy, 'model.safetensors'), 5000),
      (copy: string) => rmSync(join(copy, 'model.safetensors')),
    ]) {
      const error = await verify({ path: damaged('pare', change) }).catch((thrown) => thrown)
      expect(error).toBeInstanceOf(PareError)
      expect([1, 6]).toContain(error.exitCode)
    }
  })
  test('a weight that is not finite is a failed check and no crash', async () => {
    const path = damaged(
      'pare',
      changeTensor('model.norm.weight', (bytes) => bytes.fill(0xff)),
    )
    const found = await verify({ path })
    expect(faultsOf(found, 'weights')).toMatch(/model\.norm\.weight: .*not finite/)
    expect(statuses(found).logits).toBe('skipped')
  })
  test('a tensor that nothing reads: weights', async () => {
    const path = damaged('pare', (copy) => {
      const file = join(copy, 'model.safetensors')
      const whole = readFileSync(file)
      const size = Number(whole.readBigUInt64LE(0))
      const header = JSON.parse(whole.toString('utf8', 8, 8 + size))
      header['model.layers.0.extra.weight'] = header['model.norm.weight']
      const data = whole.subarray(8 + size)
      const at = data.length
      const extra = Buffer.alloc(
        header['model.norm.weight'].data_offsets[1] - header['model.norm.weight'].data_offsets[0],
      )
      header['model.layers.0.extra.weight'] = {
        ...header['model.norm.weight'],
        data_offsets: [at, at + extra.length],
      }
      const text = Buffer.from(JSON.stringify(header))
      const length = Buffer.alloc(8)
      length.writeBigUInt64LE(BigInt(text.length))
      writeFileSync(file, Buffer.concat([length, text, data, extra]))
    })
    expect(faultsOf(await verify({ path }), 'weights')).toContain(
      'model.layers.0.extra.weight: is in the file',
    )
  })
})

describe('a report that is hostile', () => {
  const withReport = (change: (report: Record<string, unknown>) => void) =>
    damaged(
      'pare',
      edit('report.json', (text) => {
        const report = JSON.parse(text)
        change(report)
        return JSON.stringify(report)
      }),
    )
  test('with names outside of the folder fails, and nothing there is read', async () => {
    const path = withReport((report) => {
      report.files = ['../../../../etc/passwd', 'a\u001b[31m', '..']
    })
    const found = await verify({ path })
    expect(faultsOf(found, 'files')).toContain('../../../../etc/passwd: is no name of a file in the folder')
    expect(verificationLines(found).join('\n')).not.toMatch(/\u001b/)
  })
  test('whose record is damaged fails the check of files, and the rest needs a source', async () => {
    for (const verification of [{ record: { texts: 'many' } }, { record: null }, 7])
      expect(
        failedOf(await verify({ path: withReport((report) => Object.assign(report, { verification })) })),
      ).toEqual(['files'])
    const path = damaged(
      'pare',
      edit('report.json', () => '{"not": "a report"}'),
    )
    expect(failedOf(await verify({ path }))).toEqual(['files'])
  })
  test('that names tokens outside of the vocabulary fails the check of logits', async () => {
    const path = withReport((report) => {
      const { logits } = (report.verification as { record: { logits: { ids: number[] } } }).record
      logits.ids[0] = 4_000_000_000
    })
    expect(failedOf(await verify({ path }))).toEqual(['logits'])
  })
})

describe('folders that another program wrote', () => {
  const foreign = (of: keyof typeof outputs, change: (path: string) => void = () => {}) =>
    damaged(of, (copy) => {
      rmSync(join(copy, 'report.json'))
      change(copy)
    })
  test.each(['pare', 'gptq', 'gguf'] as const)(
    '%s passes by its distance from the source',
    async (target) => {
      const found = await verify({ path: foreign(target), source })
      expect(failedOf(found), verificationLines(found).join('\n')).toEqual([])
      expect(statuses(found)).toMatchObject({ weights: 'passed', logits: 'passed' })
      const { facts } = found.checks.find(({ name }) => name === 'weights')!
      expect(facts.farthest).toBeGreaterThan(0)
    },
  )
  test('rows in another order are farther from the source than rounding', async () => {
    const reverse = (bytes: Buffer, [rows = 1]: readonly number[]) => {
      const size = bytes.length / rows
      const before = Buffer.from(bytes)
      for (let row = 0; row < rows; row++)
        before.copy(bytes, (rows - 1 - row) * size, row * size, (row + 1) * size)
    }
    const path = foreign('pare', changeTensor(`${q}.weight.codes`, reverse))
    expect(faultsOf(await verify({ path, source }), 'weights')).toMatch(
      /^model\.layers\.0\.self_attn\.q_proj\.weight: is 1\d\d% from the source, 4 bits allow 50/,
    )
  })
  const same: FixtureName[] = ['llama-f16.gguf', 'ct-sparse-bitmask', 'aqlm-2x8', 'qwen2']
  test.each(same)('%s is equal to itself', async (name) => {
    const found = await verify({ path: fixturePath(name), source: fixturePath(name) })
    expect(statuses(found).weights, verificationLines(found).join('\n')).toBe('passed')
    expect(found.checks.find(({ name }) => name === 'weights')!.text).toContain(
      'equal to the source bit for bit',
    )
  })
  test('another model of the same shapes fails weights and logits', async () => {
    const found = await verify({ path: fixturePath('llama-gptq-4'), source: fixturePath('ct-group-4') })
    expect(failedOf(found)).toEqual(['weights', 'logits'])
    expect(faultsOf(found, 'weights')).toMatch(/q_proj\.weight: is .* from the source, 4 bits allow 50/)
  })
  test('a model of other shapes fails the configuration, and its logits are not compared', async () => {
    const found = await verify({ path: fixturePath('llama-untied'), source })
    expect(failedOf(found)).toEqual(expect.arrayContaining(['weights', 'configuration']))
    expect(statuses(found).logits).toBe('skipped')
  })
  test('a text encoder is compared by its vectors', async () => {
    const path = fixturePath('bert-sentence' as FixtureName)
    const found = await verify({ path, source: path })
    expect(found.passed, verificationLines(found).join('\n')).toBe(true)
    expect(found.checks.find(({ name }) => name === 'logits')!.facts.cosine).toBeCloseTo(1, 6)
    const other = await verify({ path, source })
    expect(failedOf(other)).toContain('configuration')
  })
})
test('verifyResult throws where there is no model', async () => {
  await expect(verifyResult({ path: folder })).rejects.toBeInstanceOf(FormatError)
})

function swapTwoTokens(text: string): string {
  const json = JSON.parse(text)
  const { vocab } = json.model
  const names = Array.isArray(vocab) ? undefined : Object.keys(vocab)
  if (names) {
    const [a, b] = ['a', 'e']
    ;[vocab[a!], vocab[b!]] = [vocab[b!], vocab[a!]]
  } else {
    const find = (token: string) => vocab.findIndex(([name]: [string]) => name === token)
    const [a, b] = [find('a'), find('e')]
    ;[vocab[a], vocab[b]] = [vocab[b], vocab[a]]
  }
  return JSON.stringify(json)
}

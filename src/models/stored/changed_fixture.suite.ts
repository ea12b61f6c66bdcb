/** Copies of the tiny checkpoints with a changed header or configuration. */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type FixtureName, fixturePath, numbers } from '../llama/fixtures.suite.ts'
import { openLanguageModel } from '../load_model.ts'

export type Header = Record<string, { dtype: string; shape: number[]; data_offsets: number[] }>
// biome-ignore lint/suspicious/noExplicitAny: a test changes any field of it
export type Configuration = Record<string, any>

/** What `body` returns of a copy of the fixture, which is removed after it. */
export function withChanged<T>(
  fixture: FixtureName,
  change: (header: Header, config: Configuration, data: Buffer) => void,
  body: (path: string) => T,
): T {
  const folder = mkdtempSync(join(tmpdir(), 'changed-fixture-'))
  try {
    const copy = join(folder, fixture)
    cpSync(fixturePath(fixture), copy, { recursive: true })
    const path = join(copy, 'model.safetensors')
    const bytes = readFileSync(path)
    const length = Number(bytes.readBigUInt64LE(0))
    const header = JSON.parse(bytes.subarray(8, 8 + length).toString())
    const config = JSON.parse(readFileSync(join(copy, 'config.json'), 'utf8'))
    const data = bytes.subarray(8 + length)
    change(header, config, data)
    const text = Buffer.from(JSON.stringify(header))
    const size = Buffer.alloc(8)
    size.writeBigUInt64LE(BigInt(text.length))
    writeFileSync(path, Buffer.concat([size, text, data]))
    writeFileSync(join(copy, 'config.json'), JSON.stringify(config))
    return body(copy)
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** A weight of the folder as numbers. */
export function loadWeight(path: string, name: string): number[] {
  const open = openLanguageModel(path)
  try {
    return numbers(open.weights.load(name))
  } finally {
    open.close()
  }
}

/** What loading the weight from a changed copy ends in: nothing, or its error. */
export function loadChanged(
  fixture: FixtureName,
  name: string,
  change: (header: Header, config: Configuration, data: Buffer) => void,
): number[] {
  return withChanged(fixture, change, (path) => loadWeight(path, name))
}

/** All of a weight, then rows of it in two ways. */
export function threeReadings(fixture: FixtureName, name: string) {
  const open = openLanguageModel(fixturePath(fixture))
  try {
    const { weights } = open
    const [rows = 0, columns = 0] = weights.infos.get(name)!.shape
    const all = numbers(weights.load(name))
    const row = (id: number) => all.slice(id * columns, (id + 1) * columns)
    const ids = [rows - 1, 0, 3, 3]
    const [start, end] = [3, rows - 2]
    return {
      info: weights.infos.get(name)!,
      rows: { found: numbers(weights.rows(name, Uint32Array.from(ids))), expected: ids.flatMap(row) },
      slice: {
        found: numbers(weights.slice(name, start, end)),
        expected: all.slice(start * columns, end * columns),
      },
    }
  } finally {
    open.close()
  }
}

/** Zip and tar archives written by hand for tests, byte for byte, so that each field can lie. */
import { crc32, deflateRawSync, gzipSync } from 'node:zlib'

export interface ZipEntry {
  name: string | Buffer
  content?: Buffer
  /** 8 deflates. @default 0 */
  method?: 0 | 8
  /** Unix mode in the external attributes. @default 0 */
  mode?: number
  flags?: number
  /** What the headers say instead of the truth. */
  declaredBytes?: number
  declaredPacked?: number
  crc?: number
  localName?: string
  /** Sizes and offset as 0xffffffff with a zip64 field. */
  zip64?: boolean
  /** Points to the local header of an earlier entry instead of writing one. */
  sharesHeaderOf?: number
}

/** A zip archive: local headers and content, central directory, end record (zip64 on request). */
export function makeZip(
  entries: readonly ZipEntry[],
  { zip64 = false, entryCount = entries.length, before = Buffer.alloc(0), comment = '' } = {},
): Buffer {
  const parts: Buffer[] = [before]
  const central: Buffer[] = []
  const offsets: number[] = []
  let offset = before.length
  for (const entry of entries) {
    const { content = Buffer.alloc(0), method = 0, mode = 0, flags = 0x800 } = entry
    const name = Buffer.from(entry.name)
    const packed = method === 8 ? deflateRawSync(content) : content
    const declared = {
      crc: entry.crc ?? crc32(content),
      packed: entry.declaredPacked ?? packed.length,
      bytes: entry.declaredBytes ?? content.length,
    }
    const start = entry.sharesHeaderOf === undefined ? offset : offsets[entry.sharesHeaderOf]!
    offsets.push(start)
    if (entry.sharesHeaderOf === undefined) {
      const localName = Buffer.from(entry.localName ?? entry.name)
      const local = Buffer.alloc(30)
      local.writeUInt32LE(0x04034b50, 0)
      local.writeUInt16LE(20, 4)
      local.writeUInt16LE(flags, 6)
      local.writeUInt16LE(method, 8)
      local.writeUInt32LE(declared.crc, 14)
      local.writeUInt32LE(declared.packed, 18)
      local.writeUInt32LE(declared.bytes, 22)
      local.writeUInt16LE(localName.length, 26)
      parts.push(local, localName, packed)
      offset += 30 + localName.length + packed.length
    }
    const extra = Buffer.alloc(entry.zip64 ? 28 : 0)
    if (entry.zip64) {
      extra.writeUInt16LE(1, 0)
      extra.writeUInt16LE(24, 2)
      extra.writeBigUInt64LE(BigInt(declared.bytes), 4)
      extra.writeBigUInt64LE(BigInt(declared.packed), 12)
      extra.writeBigUInt64LE(BigInt(start), 20)
    }
    const header = Buffer.alloc(46)
    header.writeUInt32LE(0x02014b50, 0)
    header.writeUInt16LE((3 << 8) | 20, 4)
    header.writeUInt16LE(20, 6)
    header.writeUInt16LE(flags, 8)
    header.writeUInt16LE(method, 10)
    header.writeUInt32LE(declared.crc, 16)
    header.writeUInt32LE(entry.zip64 ? 0xffffffff : declared.packed, 20)
    header.writeUInt32LE(entry.zip64 ? 0xffffffff : declared.bytes, 24)
    header.writeUInt16LE(name.length, 28)
    header.writeUInt16LE(extra.length, 30)
    header.writeUInt32LE((mode << 16) >>> 0, 38)
    header.writeUInt32LE(entry.zip64 ? 0xffffffff : start, 42)
    central.push(header, name, extra)
  }
  const directory = Buffer.concat(central)
  const end = Buffer.alloc(22)
  end.writeUInt32LE(0x06054b50, 0)
  end.writeUInt16LE(zip64 ? 0xffff : entryCount, 8)
  end.writeUInt16LE(zip64 ? 0xffff : entryCount, 10)
  end.writeUInt32LE(zip64 ? 0xffffffff : directory.length, 12)
  end.writeUInt32LE(zip64 ? 0xffffffff : offset, 16)
  end.writeUInt16LE(Buffer.byteLength(comment), 20)
  const end64 = Buffer.alloc(zip64 ? 76 : 0)
  if (zip64) {
    end64.writeUInt32LE(0x06064b50, 0)
    end64.writeBigUInt64LE(44n, 4)
    end64.writeBigUInt64LE(BigInt(entryCount), 24)
    end64.writeBigUInt64LE(BigInt(entryCount), 32)
    end64.writeBigUInt64LE(BigInt(directory.length), 40)
    end64.writeBigUInt64LE(BigInt(offset), 48)
    end64.writeUInt32LE(0x07064b50, 56)
    end64.writeBigUInt64LE(BigInt(offset + directory.length), 64)
    end64.writeUInt32LE(1, 72)
  }
  return Buffer.concat([...parts, directory, end64, end, Buffer.from(comment)])
}

export interface TarEntry {
  name: string | Buffer
  content?: Buffer
  /** Type flag. @default '0' */
  type?: string
  declaredBytes?: number
  prefix?: string
  linkName?: string
  /** Size in GNU's base 256. */
  base256?: boolean
  damagedChecksum?: boolean
}

/** A gzipped ustar archive that ends with two empty blocks. */
export function makeTarGz(entries: readonly TarEntry[], { ending = 1024 } = {}): Buffer {
  const blocks: Buffer[] = []
  for (const { name, content = Buffer.alloc(0), type = '0', ...entry } of entries) {
    const bytes = entry.declaredBytes ?? content.length
    const header = Buffer.alloc(512)
    Buffer.from(name).copy(header, 0, 0, 100)
    header.write('0000644\0', 100)
    header.write('0000000\0', 108)
    header.write('0000000\0', 116)
    if (entry.base256) {
      header.writeBigUInt64BE(BigInt(bytes), 128)
      header[124] = 0x80
    } else header.write(`${bytes.toString(8).padStart(11, '0')}\0`, 124)
    header.write('00000000000\0', 136)
    header.write('        ', 148)
    header.write(type, 156)
    header.write(entry.linkName ?? '', 157)
    header.write('ustar\0' + '00', 257)
    header.write(entry.prefix ?? '', 345)
    const sum = header.reduce((total, byte) => total + byte, 0) + (entry.damagedChecksum ? 1 : 0)
    header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
    blocks.push(header, content, Buffer.alloc((512 - (content.length % 512)) % 512))
  }
  return gzipSync(Buffer.concat([...blocks, Buffer.alloc(ending)]))
}

/** One pax record, `LENGTH KEY=VALUE\n`, whose length counts itself. */
export function paxRecord(key: string, value: string): Buffer {
  const body = ` ${key}=${value}\n`
  let length = Buffer.byteLength(body) + 1
  while (`${length}`.length + Buffer.byteLength(body) !== length) length++
  return Buffer.from(`${length}${body}`)
}

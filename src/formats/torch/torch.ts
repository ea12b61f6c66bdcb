/**
 * Reads the tensors of `torch.save`: `.pth`, `.pt` and `.bin`, as a zip archive (since 1.6) or an old stream. The
 * pickle inside is read by a machine that builds tensors and plain containers and runs nothing (pickle.ts).
 */
import {
  archiveOver,
  checkRows,
  damaged,
  elementCount,
  type TensorArchive,
  type TensorEntry,
} from '../archive.ts'
import { type ByteSource, openFile } from '../file.ts'
import { readOldStream } from './old_stream.ts'
import type { TorchTensor } from './pickle_values.ts'
import { stateOf } from './state_tensors.ts'
import { isPacked, packed, spanOf } from './strided.ts'
import { readZipFile } from './zip_file.ts'

export type TorchScalar = string | number | boolean | null

/**
 * Opens a file of `torch.save`. Names are the keys that lead to a tensor, joined by dots; types are the words of
 * safetensors; numbers and texts beside the tensors are its metadata. A tensor that views its storage out of order is
 * packed as it is read.
 *
 * @throws FormatError for damage, and for anything but tensors and plain containers: the message names it.
 * @throws SourceError if the file is missing.
 * @example openTorch('efficientnet.pth').tensors.get('_conv_stem.weight')?.shape
 */
export const openTorch = (path: string): TensorArchive<TorchScalar> => openTorchSource(openFile(path))

/** As `openTorch`, over a source that is open already; `close` of the archive closes it. */
export function openTorchSource(source: ByteSource): TensorArchive<TorchScalar> {
  try {
    return archiveOf(source)
  } catch (error) {
    source.close()
    throw error
  }
}

function archiveOf(source: ByteSource): TensorArchive<TorchScalar> {
  const { root, positions } = readerOf(source)(source)
  const { tensors, scalars } = stateOf(source.name, root)
  const entries = new Map<string, TensorEntry>()
  const loose = new Map<string, TorchTensor>()
  for (const [name, tensor] of tensors) {
    const { storage, start, shape } = tensor
    entries.set(name, {
      name,
      type: storage.type,
      shape,
      bytes: elementCount(shape)! * storage.itemBytes,
      offset: positions.get(storage)! + start * storage.itemBytes,
      file: source.name,
    })
    if (!isPacked(tensor)) loose.set(name, tensor)
  }
  const archive = archiveOver('torch', new Map([[source.name, source]]), entries, scalars)
  const gather = (tensor: TorchTensor) => {
    const { itemBytes } = tensor.storage
    const position = positions.get(tensor.storage)! + tensor.start * itemBytes
    return packed(tensor, source.read(position, spanOf(tensor) * itemBytes), itemBytes)
  }
  return {
    ...archive,
    read(name) {
      const tensor = loose.get(name)
      return tensor ? gather(tensor) : archive.read(name)
    },
    readRows(name, from, to) {
      const tensor = loose.get(name)
      if (!tensor) return archive.readRows(name, from, to)
      checkRows(entries.get(name)!, from, to)
      const [, ...rest] = tensor.shape
      const start = tensor.start + from * tensor.strides[0]!
      return gather({ ...tensor, start, shape: [to - from, ...rest] })
    },
  }
}

/** By the first bytes. */
function readerOf(source: ByteSource): typeof readOldStream {
  const [a, b] = source.read(0, Math.min(2, source.size))
  if (a === 0x50 && b === 0x4b) return readZipFile
  if (a === 0x80) return readOldStream
  throw damaged(
    source.name,
    'begins like no file of torch.save; give a .pth, .pt or .bin of PyTorch 0.4 or later',
    'PARE_E_TORCH_STREAM',
  )
}

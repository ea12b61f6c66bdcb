/** Storages that a pickle refers to, and where their bytes are. */
import { printable } from '../../tensor/errors.ts'
import { damaged } from '../archive.ts'
import { isIndex, storageType } from './globals.ts'
import { kindOf, type PickleValue, type TorchStorage, type TorchStorageView } from './pickle_values.ts'

/** ('storage', class, key, device, elements) and, in old files, a view (key, first element, elements) or None. */
export class Storages {
  readonly byKey = new Map<string, TorchStorage>()
  private readonly file: string

  constructor(file: string) {
    this.file = file
  }

  /** The storage, or the part of one, that a persistent id stands for. */
  resolve(id: PickleValue): TorchStorage | TorchStorageView {
    const items = typeof id === 'object' && id?.kind === 'tuple' ? id.items : []
    const [word, storageClass, key, , count, view] = items
    if (word !== 'storage' || items.length < 5 || items.length > 6) {
      throw this.refuse(`refers to ${printable(String(typeof word === 'string' ? word : kindOf(id)))}`)
    }
    const name = typeof storageClass === 'object' && storageClass?.kind === 'global' ? storageClass.name : ''
    const type = storageType(name)
    if (!type) throw this.refuse(`refers to a storage of ${printable(name || kindOf(storageClass))}`)
    if (typeof key !== 'string' || !isIndex(count))
      throw this.refuse('refers to a storage without key or size')
    const storage = this.storage({ kind: 'storage', key, count, ...type })
    return view === undefined || view === null ? storage : this.view(storage, view)
  }

  /** Tensors that share a storage must agree on what it is. */
  private storage(wanted: TorchStorage): TorchStorage {
    const known = this.byKey.get(wanted.key)
    if (!known) {
      this.byKey.set(wanted.key, wanted)
      return wanted
    }
    if (known.type === wanted.type && known.count === wanted.count) return known
    throw this.refuse(
      `has storage ${printable(wanted.key)} as ${known.count} ${known.type} and as ${wanted.count} ${wanted.type}`,
    )
  }

  private view(storage: TorchStorage, value: PickleValue): TorchStorageView {
    const [, start, count] = typeof value === 'object' && value?.kind === 'tuple' ? value.items : []
    if (isIndex(start) && isIndex(count) && start + count <= storage.count)
      return { kind: 'view', storage, start, count }
    throw this.refuse(`has a view that does not lie in storage ${printable(storage.key)}`)
  }

  refuse(what: string) {
    return damaged(this.file, `the pickle ${what}; it is damaged or hostile`, 'PARE_E_TORCH_STORAGE')
  }
}

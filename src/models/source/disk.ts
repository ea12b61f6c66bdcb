/** Room on a disk, asked before a long write and reported when it runs out all the same. */
import { statfs } from 'node:fs/promises'
import { printable, ResourceError } from '../../tensor/errors.ts'

/** @throws ResourceError (`PARE_E_DISK`) unless `bytes` more fit where `folder` is. */
export async function checkFreeDisk(
  folder: string,
  bytes: number,
  subject: string,
  other = 'another cache folder',
): Promise<void> {
  const { bavail, bsize } = await statfs(folder)
  const free = bavail * bsize
  if (bytes <= free) return
  throw new ResourceError(
    `${printable(subject)}: ${bytes} bytes of disk are needed in ${printable(folder, 300)}, ${free} are free; free some or choose ${other}`,
    { code: 'PARE_E_DISK', facts: { folder, needed: bytes, free } },
  )
}

/** A write that found no room becomes a ResourceError that names the folder; other errors pass unchanged. */
export function diskError(error: unknown, folder: string, subject: string): unknown {
  if (!(error instanceof Error) || !('code' in error) || !['ENOSPC', 'EDQUOT'].includes(String(error.code)))
    return error
  return new ResourceError(
    `${printable(subject)}: the disk ran full in ${printable(folder, 300)}; free some or choose another cache folder`,
    { code: 'PARE_E_DISK', facts: { folder }, cause: error },
  )
}

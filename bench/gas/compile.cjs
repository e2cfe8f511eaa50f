// Compile the peers' contracts with npm's solc; print them as JSON, each peer with its contracts or with
// the reason why there are none.
'use strict'

const fs = require('node:fs')
const path = require('node:path')
const solc = require('solc')

const MODULES = path.join(__dirname, '..', 'node_modules')
// peer: [file, npm package]
const PEERS = {
  OpenZeppelin: ['openzeppelin.sol', '@openzeppelin/contracts'],
  solady: ['solady.sol', 'solady'],
  solmate: ['solmate.sol', 'solmate'],
}
// What Hardhat and Foundry projects use: 200 runs, not through the IR. The EVM is that of our own contracts.
const OPTIMIZER = { enabled: true, runs: 200 }
const EVM_VERSION = 'cancun'

function findImport(name) {
  try {
    return { contents: fs.readFileSync(path.join(MODULES, name), 'utf8') }
  } catch (error) {
    return { error: error.message }
  }
}

function compile([file, packageName]) {
  const input = {
    language: 'Solidity',
    sources: { [file]: { content: fs.readFileSync(path.join(__dirname, file), 'utf8') } },
    settings: {
      optimizer: OPTIMIZER,
      evmVersion: EVM_VERSION,
      outputSelection: { [file]: { '*': ['abi', 'evm.bytecode.object'] } },
    },
  }
  const output = JSON.parse(solc.compile(JSON.stringify(input), { import: findImport }))
  const failure = (output.errors ?? []).find((error) => error.severity === 'error')
  if (failure) return { failure: failure.message.split('\n')[0] }
  const manifest = JSON.parse(fs.readFileSync(path.join(MODULES, packageName, 'package.json'), 'utf8'))
  const contracts = {}
  for (const [name, contract] of Object.entries(output.contracts[file])) {
    contracts[name] = { abi: contract.abi, bytecode: '0x' + contract.evm.bytecode.object }
  }
  return { version: manifest.version, contracts }
}

const peers = Object.fromEntries(Object.entries(PEERS).map(([peer, source]) => [peer, compile(source)]))
const settings = { solc: solc.version(), optimizer_runs: OPTIMIZER.runs, evm_version: EVM_VERSION }
process.stdout.write(JSON.stringify({ settings, peers }))

// swift-tools-version:5.7
import PackageDescription

// On Apple's systems libsmidgen is the xcframework that examples/ios/package.sh makes; elsewhere what runtime/capi/install.sh installed.
#if os(macOS)
let library = Target.binaryTarget(name: "CSmidgen", path: "Smidgen.xcframework")
#else
let library = Target.systemLibrary(name: "CSmidgen", pkgConfig: "smidgen")
#endif

let package = Package(
    name: "Smidgen",
    platforms: [.iOS(.v13), .macOS(.v11)],
    products: [.library(name: "Smidgen", targets: ["Smidgen"])],
    targets: [
        library,
        .target(name: "Smidgen", dependencies: ["CSmidgen"]),
        .executableTarget(name: "Story", dependencies: ["Smidgen"]),
    ]
)

//go:build unix

package websocket

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"testing"
)

// Other programs' zlib inflates what we compress, with exactly the window that
// was agreed upon, and compresses what we inflate. A program reads one
// conversation after another and writes what it made of it, as JSON with the
// bytes in base64.

type zlibCase struct {
	Bits     int      `json:"bits"`
	Takeover bool     `json:"takeover"`
	Plain    [][]byte `json:"plain"`
	Ours     [][]byte `json:"ours"` // compressed
}

type zlibResult struct {
	Inflated   [][]byte `json:"inflated"`   // what became of ours
	Compressed [][]byte `json:"compressed"` // what became of plain
}

const nodeZlib = `
const zlib = require('zlib');
const tail = Buffer.from([0, 0, 0xff, 0xff]);
const cases = JSON.parse(require('fs').readFileSync(0));
console.log(JSON.stringify(cases.map(c => {
	const windowBits = c.bits, finishFlush = zlib.constants.Z_SYNC_FLUSH;
	let history = Buffer.alloc(0);
	const options = () => c.takeover && history.length > 0
		? { windowBits, finishFlush, dictionary: history.subarray(-(1 << c.bits)) }
		: { windowBits, finishFlush };
	const each = (list, f) => {
		history = Buffer.alloc(0);
		return list.map(b64 => {
			const [plain, result] = f(Buffer.from(b64, 'base64'), options());
			history = Buffer.concat([history, plain]).subarray(-(1 << 15));
			return result.toString('base64');
		});
	};
	const inflated = each(c.ours, (b, o) => {
		const plain = zlib.inflateRawSync(Buffer.concat([b, tail]), o);
		return [plain, plain];
	});
	const compressed = c.bits < 9 ? [] : each(c.plain, (b, o) => {
		const z = zlib.deflateRawSync(b, o);
		return [b, b.length ? z.subarray(0, -4) : Buffer.from([0])];
	});
	return { inflated, compressed };
})));
`

const pythonZlib = `
import base64, json, sys, zlib
results = []
for c in json.load(sys.stdin):
	bits, inflated, compressed = -c["bits"], [], []
	z = None
	for b in c["ours"]:
		if z is None or not c["takeover"]:
			z = zlib.decompressobj(bits)
		inflated.append(z.decompress(base64.b64decode(b) + b"\0\0\xff\xff"))
		assert not z.unused_data and not z.unconsumed_tail and not z.eof
	z = None
	for b in c["plain"] if bits < -8 else []:
		if z is None or not c["takeover"]:
			z = zlib.compressobj(6, zlib.DEFLATED, bits)
		b = base64.b64decode(b)
		out = z.compress(b) + z.flush(zlib.Z_SYNC_FLUSH)
		compressed.append(out[:-4] if b else b"\0")
	results.append({
		"inflated": [base64.b64encode(b).decode() for b in inflated],
		"compressed": [base64.b64encode(b).decode() for b in compressed],
	})
json.dump(results, sys.stdout)
`

func TestZlib(t *testing.T) {
	leaveOutIfShort(t)
	c := newCorpus(13)
	var plain [][]byte
	for _, size := range []int{0, 1, 300, 1024, 0, 1024, 5000} {
		plain = append(plain, c.message(size), make([]byte, size), corpusNoise(uint64(size), size), c.message(200))
	}
	plain = append(plain, c.message(150_000), corpusNoise(3, 70_000), []byte{}, c.message(1000))

	var cases []zlibCase
	for bits := minWindowBits; bits <= maxWindowBits; bits++ {
		for _, level := range []int{1, defaultLevel, 9} {
			for _, takeover := range []bool{false, true} {
				d := newDeflater(level, bits)
				var ours [][]byte
				for _, p := range plain {
					if !takeover {
						d.forget()
					}
					ours = append(ours, d.appendMessage(nil, p))
				}
				cases = append(cases, zlibCase{bits, takeover, plain, ours})
			}
		}
	}
	input, err := json.Marshal(cases)
	if err != nil {
		t.Fatal(err)
	}

	for _, program := range []struct {
		name, install string
		args          []string
	}{
		{"node", "apt-get install nodejs", []string{"-e", nodeZlib}},
		{"python3", "apt-get install python3", []string{"-c", pythonZlib}},
	} {
		t.Run(program.name, func(t *testing.T) {
			path := lookFor(t, program.name, program.install)
			cmd := exec.Command(path, program.args...)
			cmd.Stdin = bytes.NewReader(input)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			output, err := cmd.Output()
			if err != nil {
				t.Fatalf("%s: %v\n%s", program.name, err, stderr.Bytes())
			}
			var results []zlibResult
			if err := json.Unmarshal(output, &results); err != nil || len(results) != len(cases) {
				t.Fatalf("%d results, %v, want %d", len(results), err, len(cases))
			}
			for i, c := range cases {
				name := fmt.Sprintf("%d bits, takeover %t", c.Bits, c.Takeover)
				if len(results[i].Inflated) != len(plain) || c.Bits > 8 && len(results[i].Compressed) != len(plain) {
					t.Fatalf("%s: %d messages inflated and %d compressed, want %d", name, len(results[i].Inflated), len(results[i].Compressed), len(plain))
				}
				for k, got := range results[i].Inflated {
					if !bytes.Equal(got, plain[k]) {
						t.Errorf("%s: message %d was inflated to %d bytes, want the %d we compressed", name, k, len(got), len(plain[k]))
					}
				}
				f := &inflater{}
				if c.Takeover {
					f = newInflater(c.Bits)
				}
				for k, message := range results[i].Compressed {
					got, err := f.appendMessage(nil, message, 1<<20)
					if err != nil || !bytes.Equal(got, plain[k]) {
						t.Fatalf("%s: message %d was inflated to %d bytes, %v, want %d", name, k, len(got), err, len(plain[k]))
					}
				}
			}
		})
	}
}

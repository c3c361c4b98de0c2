import java.io.FileInputStream;
import java.io.OutputStream;
import java.net.HttpURLConnection;
import java.net.URI;
import java.security.SecureRandom;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.Date;
import org.bouncycastle.asn1.ASN1ObjectIdentifier;
import org.bouncycastle.asn1.DEROctetString;
import org.bouncycastle.asn1.nist.NISTObjectIdentifiers;
import org.bouncycastle.asn1.ocsp.OCSPObjectIdentifiers;
import org.bouncycastle.asn1.oiw.OIWObjectIdentifiers;
import org.bouncycastle.asn1.x509.AlgorithmIdentifier;
import org.bouncycastle.asn1.x509.ExtendedKeyUsage;
import org.bouncycastle.asn1.x509.Extension;
import org.bouncycastle.asn1.x509.Extensions;
import org.bouncycastle.asn1.x509.KeyPurposeId;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cert.jcajce.JcaX509CertificateHolder;
import org.bouncycastle.cert.ocsp.BasicOCSPResp;
import org.bouncycastle.cert.ocsp.CertificateID;
import org.bouncycastle.cert.ocsp.CertificateStatus;
import org.bouncycastle.cert.ocsp.OCSPReq;
import org.bouncycastle.cert.ocsp.OCSPReqBuilder;
import org.bouncycastle.cert.ocsp.OCSPResp;
import org.bouncycastle.cert.ocsp.RevokedStatus;
import org.bouncycastle.cert.ocsp.SingleResp;
import org.bouncycastle.jce.provider.BouncyCastleProvider;
import org.bouncycastle.operator.ContentVerifierProvider;
import org.bouncycastle.operator.DigestCalculatorProvider;
import org.bouncycastle.operator.bc.BcDigestCalculatorProvider;
import org.bouncycastle.operator.jcajce.JcaContentVerifierProviderBuilder;

/** Asks with Bouncy Castle about a certificate and verifies the answer: issuer.pem cert.pem url sha1|sha256. */
class Bouncy {
    public static void main(String[] args) throws Exception {
        BouncyCastleProvider provider = new BouncyCastleProvider();
        if (args.length == 0) {
            System.out.println(provider.getVersionStr());
            return;
        }
        X509CertificateHolder issuer = read(args[0]);
        DigestCalculatorProvider digests = new BcDigestCalculatorProvider();
        ASN1ObjectIdentifier hash = args[3].equals("sha1") ? OIWObjectIdentifiers.idSHA1 : NISTObjectIdentifiers.id_sha256;
        CertificateID id = new CertificateID(digests.get(new AlgorithmIdentifier(hash)), issuer, read(args[1]).getSerialNumber());
        byte[] nonce = new byte[32];
        new SecureRandom().nextBytes(nonce);
        Extension sent = new Extension(OCSPObjectIdentifiers.id_pkix_ocsp_nonce, false,
                new DEROctetString(new DEROctetString(nonce).getEncoded()));
        OCSPReq request = new OCSPReqBuilder().addRequest(id).setRequestExtensions(new Extensions(sent)).build();

        HttpURLConnection http = (HttpURLConnection) URI.create(args[2]).toURL().openConnection();
        http.setDoOutput(true);
        http.setRequestProperty("Content-Type", "application/ocsp-request");
        try (OutputStream out = http.getOutputStream()) {
            out.write(request.getEncoded());
        }
        OCSPResp response = new OCSPResp(http.getInputStream());
        check(response.getStatus() == OCSPResp.SUCCESSFUL, "the response status is " + response.getStatus());
        BasicOCSPResp basic = (BasicOCSPResp) response.getResponseObject();

        // The signer is the issuer, or the delegate that it certified for this.
        JcaContentVerifierProviderBuilder verifiers = new JcaContentVerifierProviderBuilder().setProvider(provider);
        ContentVerifierProvider byIssuer = verifiers.build(issuer);
        ContentVerifierProvider signer = byIssuer;
        if (basic.getCerts().length > 0) {
            X509CertificateHolder delegate = basic.getCerts()[0];
            check(delegate.isSignatureValid(byIssuer), "the responder's certificate is not of the issuer");
            check(ExtendedKeyUsage.fromExtensions(delegate.getExtensions()).hasKeyPurposeId(KeyPurposeId.id_kp_OCSPSigning),
                    "the responder's certificate is not for OCSP");
            signer = verifiers.build(delegate);
        }
        check(basic.isSignatureValid(signer), "the signature is wrong");
        check(sent.equals(basic.getExtension(OCSPObjectIdentifiers.id_pkix_ocsp_nonce)), "the nonce is another");
        check(basic.getResponses().length == 1, "the answer is not about one certificate");
        SingleResp single = basic.getResponses()[0];
        check(single.getCertID().equals(id), "the answer is about another certificate");
        Date now = new Date();
        check(!single.getThisUpdate().after(now) && single.getNextUpdate().after(now), "the answer is not of now");

        CertificateStatus status = single.getCertStatus();
        if (status == CertificateStatus.GOOD) {
            System.out.println("good");
        } else if (status instanceof RevokedStatus revoked) {
            System.out.println("revoked " + revoked.getRevocationReason());
        } else {
            System.out.println("unknown");
        }
    }

    static void check(boolean ok, String wrong) {
        if (!ok) {
            throw new IllegalStateException(wrong);
        }
    }

    static X509CertificateHolder read(String path) throws Exception {
        try (FileInputStream in = new FileInputStream(path)) {
            return new JcaX509CertificateHolder((X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
    }
}
